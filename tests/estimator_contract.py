"""What every `CountEstimator` must do: subclass `EstimatorContract` in a test file and give it an `estimator`."""

import numpy as np
import pytest
from tests.small_dataset import draw_photo

from bintally.domain.counts import CountDistribution, CountEstimator
from bintally.errors import PhotoError


class EstimatorContract:
    """The suite; `tolerance` is how far answers may differ between batches."""

    tolerance = 1e-5

    @pytest.fixture
    def estimator(self) -> CountEstimator:
        raise NotImplementedError

    @pytest.fixture
    def photos(self) -> list[bytes]:
        """Five photos that differ in contents, size and format."""
        return [
            draw_photo(0),
            draw_photo(2, side_px=40),
            draw_photo(9, side_px=96),
            draw_photo(4, kind="PNG"),
            draw_photo(5, side_px=64),
        ]

    def test_it_has_a_name_and_a_last_count(self, estimator: CountEstimator) -> None:
        assert isinstance(estimator.name, str)
        assert estimator.name
        assert isinstance(estimator.last_count, int)
        assert estimator.last_count >= 1

    def test_it_gives_one_row_of_k_plus_one_float32_per_photo(
        self, estimator: CountEstimator, photos: list[bytes]
    ) -> None:
        answers = estimator.predict(photos)
        assert answers.dtype == np.float32
        assert answers.shape == (len(photos), estimator.last_count + 1)

    def test_rows_are_distributions(self, estimator: CountEstimator, photos: list[bytes]) -> None:
        answers = estimator.predict(photos)
        assert (answers >= 0).all()
        np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-5)
        assert CountDistribution(answers[0]).last_count == estimator.last_count

    def test_order_is_kept(self, estimator: CountEstimator, photos: list[bytes]) -> None:
        forwards, backwards = estimator.predict(photos), estimator.predict(photos[::-1])
        np.testing.assert_allclose(forwards, backwards[::-1], atol=self.tolerance)

    def test_a_photo_is_judged_alike_alone_and_in_company(self, estimator: CountEstimator, photos: list[bytes]) -> None:
        together = estimator.predict(photos)
        alone = np.concatenate([estimator.predict([photo]) for photo in photos])
        np.testing.assert_allclose(together, alone, atol=self.tolerance)

    def test_asking_twice_gives_the_same_answer(self, estimator: CountEstimator, photos: list[bytes]) -> None:
        np.testing.assert_array_equal(estimator.predict(photos), estimator.predict(photos))

    def test_no_photos_give_no_rows(self, estimator: CountEstimator) -> None:
        assert estimator.predict([]).shape == (0, estimator.last_count + 1)
        assert estimator.predict([]).dtype == np.float32

    @pytest.mark.parametrize("bad", [b"not a photo", b"", draw_photo(3)[:200]], ids=["text", "empty", "truncated"])
    def test_what_is_no_photo_is_refused(self, estimator: CountEstimator, photos: list[bytes], bad: bytes) -> None:
        with pytest.raises(PhotoError):
            estimator.predict([photos[0], bad])
