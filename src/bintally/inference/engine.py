"""The engine: loads a model once and counts photos, one photo a run, on as many threads as there are cores.

One photo a run, so that a photo's numbers never depend on which others it came with. The session is shared between
threads and releases the interpreter's lock, as decoding does, so cores are kept busy all the same.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from bintally.data.images import DEFAULT_LIMITS
from bintally.domain.counts import CountDistribution
from bintally.errors import ModelError, PhotoError
from bintally.inference.model_file import INPUT_NAME, OUTPUT_NAME, ModelFacts, parse_facts
from bintally.models.preprocess import served

_WINDOW_PER_THREAD = 16


class Engine:
    """A loaded model: a `CountEstimator` that reads photos as they come.

    >>> Engine(Path("no.onnx"))
    Traceback (most recent call last):
    bintally.errors.ModelError: no.onnx: no such model file
    """

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        """Load a model file.

        Args:
            path: what `bintally export` wrote.
            threads: photos counted at a time; None: one per core.

        Raises:
            ModelError: if it is missing, no ONNX file, or not one of Bintally's.
        """
        if not path.is_file():
            raise ModelError(f"{path}: no such model file")
        self.threads = threads or os.cpu_count() or 1
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors share no base class that it exports
            raise ModelError(f"{path}: not a readable ONNX model ({str(error).splitlines()[0][:200]})") from error
        self.facts: ModelFacts = parse_facts(self._session.get_modelmeta().custom_metadata_map, str(path))
        self._check_graph(path)

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.facts.name

    @property
    def last_count(self) -> int:
        """K."""
        return self.facts.last_count

    def predict(self, photos: Sequence[bytes]) -> npt.NDArray[np.float32]:
        """Probabilities float32[N,K+1] of encoded photos, in their order.

        Raises:
            PhotoError: if one cannot be decoded.
        """
        rows = np.empty((len(photos), self.last_count + 1), dtype=np.float32)
        with ThreadPoolExecutor(self.threads) as pool:
            for index, row in enumerate(pool.map(self._probabilities, photos)):
                rows[index] = row
        return rows

    def predict_ready(self, photos: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Probabilities float32[N,K+1] of photos uint8[N,S,S,3] that are decoded and squashed already, in one run."""
        (probabilities,) = self._session.run([OUTPUT_NAME], {INPUT_NAME: photos})
        return np.asarray(probabilities, dtype=np.float32)

    def count(self, photo: bytes, *, name: str = "photo") -> CountDistribution:
        """What is believed about one encoded photo.

        Raises:
            PhotoError: naming `name`, if it cannot be decoded.
        """
        return CountDistribution(self._probabilities(photo, name=name))

    def count_files(self, paths: Iterable[Path]) -> Iterator[tuple[Path, CountDistribution | PhotoError]]:
        """Count files in their order, a bounded number read ahead; a bad one comes back as its error."""
        waiting = iter(paths)
        with ThreadPoolExecutor(self.threads) as pool:
            while window := list(islice(waiting, self.threads * _WINDOW_PER_THREAD)):
                yield from zip(window, pool.map(self._count_file, window), strict=True)

    def _check_graph(self, path: Path) -> None:
        """Refuse a graph that its facts do not describe."""
        side, size = self.facts.side_px, self.facts.last_count + 1
        found = {value.name: value.shape[1:] for value in (*self._session.get_inputs(), *self._session.get_outputs())}
        wanted = {INPUT_NAME: [side, side, 3], OUTPUT_NAME: [size]}
        if found != wanted:
            raise ModelError(f"{path}: its graph {found} does not fit its facts {wanted}. Export it again")

    def _count_file(self, path: Path) -> CountDistribution | PhotoError:
        try:
            with path.open("rb") as file:  # no more than tells that it is too large
                return self.count(file.read(DEFAULT_LIMITS.max_bytes + 1), name=str(path))
        except PhotoError as error:
            return error
        except OSError as error:
            return PhotoError(f"{path}: cannot be read ({error.strerror or error})")

    def _probabilities(self, photo: bytes, *, name: str = "photo") -> npt.NDArray[np.float32]:
        pixels = served(photo, self.facts.side_px, name=name)
        row: npt.NDArray[np.float32] = self.predict_ready(pixels[None])[0]
        return row
