"""The engine: one photo's numbers, whatever the company and the way they are asked for."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.estimator_contract import EstimatorContract
from tests.fixed_model import write_fixed_model
from tests.small_dataset import draw_photo
from tests.tiny_model import tiny_facts, write_tiny_model

from bintally.data.manifest import Manifest
from bintally.domain.counts import CountDistribution
from bintally.errors import ModelError, NotAPhotoError, PhotoError
from bintally.inference.engine import Engine
from bintally.inference.model_file import METADATA_KEY

ROW = [0.1, 0.2, 0.3, 0.4]


class TestContract(EstimatorContract):
    tolerance = 0.0

    @pytest.fixture
    def estimator(self, tiny_engine: Engine) -> Engine:
        return tiny_engine


@pytest.fixture
def photos(drawn: Manifest) -> list[bytes]:
    return [(drawn.root / key).read_bytes() for key in drawn.frame["photo_key"][:40]]


def test_a_photo_alone_is_the_photo_in_company_bit_for_bit(tiny_engine: Engine, photos: list[bytes]) -> None:
    together = tiny_engine.predict(photos)
    assert len(np.unique(together, axis=0)) > 20, "the photos must differ for this to show anything"
    for index in range(0, 40, 7):
        np.testing.assert_array_equal(tiny_engine.predict([photos[index]])[0], together[index])
        np.testing.assert_array_equal(tiny_engine.predict(photos[index:])[0], together[index])


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_threads_change_no_number(threads: int, tiny_engine: Engine, tiny_run: Path, photos: list[bytes]) -> None:
    engine = Engine(tiny_run / "model.onnx", threads=threads)
    assert engine.threads == threads
    np.testing.assert_array_equal(engine.predict(photos), tiny_engine.predict(photos))


def test_count_is_predict(tiny_engine: Engine, photos: list[bytes]) -> None:
    for photo, row in zip(photos[:5], tiny_engine.predict(photos[:5]), strict=True):
        assert tiny_engine.count(photo) == CountDistribution(row)


def test_files_come_back_in_order_with_errors_in_their_place(
    tiny_run: Path, photos: list[bytes], tmp_path: Path
) -> None:
    engine = Engine(tiny_run / "model.onnx", threads=2)  # 40 files are more than one window of 32
    paths = []
    for index, photo in enumerate(photos):
        paths.append(tmp_path / f"{index}.jpg")
        paths[-1].write_bytes(photo if index not in (3, 35) else b"text")
    paths[7].unlink()
    found = list(engine.count_files(iter(paths)))
    assert [path for path, _ in found] == paths
    for index, (path, answer) in enumerate(found):
        if index in (3, 35):
            assert isinstance(answer, NotAPhotoError)
            assert str(path) in str(answer)
        elif index == 7:
            assert isinstance(answer, PhotoError)
            assert str(path) in str(answer)
            assert "cannot be read" in str(answer)
        else:
            assert answer == engine.count(photos[index])


def test_files_are_read_as_they_are_asked_for(tiny_run: Path, photo_file: Path) -> None:
    engine = Engine(tiny_run / "model.onnx", threads=1)
    asked = []

    def paths() -> Iterator[Path]:
        for number in range(1000):
            asked.append(number)
            yield photo_file

    next(engine.count_files(paths()))
    assert len(asked) < 100


def test_a_bad_photo_is_named(tiny_engine: Engine) -> None:
    with pytest.raises(PhotoError, match="bin 7"):
        tiny_engine.count(b"text", name="bin 7")


def test_any_format_and_size_is_served_alike(tiny_engine: Engine) -> None:
    small, large = (tiny_engine.count(draw_photo(0, side_px=side, kind="PNG")) for side in (48, 480))
    np.testing.assert_allclose(small.probabilities, large.probabilities, atol=0.05)


class TestModelFiles:
    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=r"no\.onnx: no such model file"):
            Engine(tmp_path / "no.onnx")

    @pytest.mark.parametrize("data", [b"", b"this is text", b"\x08\x07" * 50], ids=["empty", "text", "noise"])
    def test_not_onnx(self, data: bytes, tmp_path: Path) -> None:
        path = tmp_path / "model.onnx"
        path.write_bytes(data)
        with pytest.raises(ModelError, match=r"model\.onnx: not a readable ONNX model"):
            Engine(path)

    def test_cut_short(self, tiny_run: Path, tmp_path: Path) -> None:
        path = tmp_path / "model.onnx"
        path.write_bytes((tiny_run / "model.onnx").read_bytes()[:-2000])
        with pytest.raises(ModelError):
            Engine(path)

    @pytest.mark.parametrize("metadata", [{}, {"author": "somebody"}], ids=["none", "others"])
    def test_a_foreign_one(self, metadata: dict[str, str], tmp_path: Path) -> None:
        path = write_fixed_model(tmp_path / "model.onnx", ROW, metadata=metadata)
        with pytest.raises(ModelError, match=r"not one of Bintally's\. Make one: bintally export RUN"):
            Engine(path)

    @pytest.mark.parametrize(
        "changes",
        [
            {"format_version": 2},
            {"format_version": "one"},
            {"last_count": 0},
            {"colour": "red"},
            {"temperature": 0},
            {"known_low": -1},
            {"resize": "crop"},
            {"provenance": None},
        ],
        ids=lambda changes: next(iter(changes)),
    )
    def test_of_another_version_or_damaged(self, changes: dict[str, object], tmp_path: Path) -> None:
        facts = {**json.loads(tiny_facts().model_dump_json()), **changes}
        path = write_fixed_model(tmp_path / "model.onnx", ROW, metadata={METADATA_KEY: json.dumps(facts)})
        with pytest.raises(ModelError, match=f"expected a model of format 1.*{next(iter(changes))}.*Export it again"):
            Engine(path)

    def test_facts_that_are_no_json(self, tmp_path: Path) -> None:
        path = write_fixed_model(tmp_path / "model.onnx", ROW, metadata={METADATA_KEY: "{"})
        with pytest.raises(ModelError, match="expected a model of format 1"):
            Engine(path)

    def test_facts_of_another_graph(self, tmp_path: Path) -> None:
        facts = tiny_facts().model_copy(update={"last_count": 9})
        path = write_fixed_model(tmp_path / "model.onnx", ROW, metadata={METADATA_KEY: facts.model_dump_json()})
        with pytest.raises(ModelError, match=r"model\.onnx: .*does not fit its facts.*Export it again"):
            Engine(path)

    def test_a_model_made_without_torch_is_as_good(self, tmp_path: Path) -> None:
        engine = Engine(write_tiny_model(tmp_path / "model.onnx"))
        assert (engine.name, engine.last_count, engine.count(draw_photo(3)).mode) == ("tiny", 3, 2)
