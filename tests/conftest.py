"""What several test files share, made once a session: a drawn dataset, a run trained on it, and its model file.

Nobody may change them; `tests.tiny_run` has `copy_dataset` for tests that spoil one.
"""

import gc
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

# Before torch is imported: the tests' networks are so small that threads only wait for each other, and one thread
# makes sums of floats come out alike.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that runs this in the background has Ctrl-C ignored, and programs that tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says more about a machine's other work than about the code.
settings.register_profile("bintally", deadline=None)
settings.load_profile("bintally")

if TYPE_CHECKING:
    from bintally.data.manifest import Manifest
    from bintally.inference.engine import Engine
    from bintally.models.checkpoint import Checkpoint


def pytest_collection_finish() -> None:
    """What all test files import lives on: Optuna, which collects garbage after every trial, need not look at it."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """As it was, or libraries written in C++ complain of leaks at the end."""
    gc.unfreeze()


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> "Manifest":
    """120 drawn photos, split."""
    from tests.tiny_run import draw_dataset

    return draw_dataset(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="session")
def tiny_run(drawn: "Manifest", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with its model file: `smallcnn` at 32 px, counts 0..5 or more."""
    from tests.tiny_run import fit_tiny

    from bintally.export import export

    run = tmp_path_factory.mktemp("runs") / "tiny"
    changes = ("seed=3", "epochs=6", "batch_size=8", "optimiser.lr=0.001")  # enough to tell photos apart
    export(fit_tiny(drawn, run, *changes), run / "model.onnx")
    return run


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_run: Path) -> "Checkpoint":
    """That run's checkpoint."""
    from bintally.models.checkpoint import load_checkpoint

    return load_checkpoint(tiny_run)


@pytest.fixture(scope="session")
def tiny_engine(tiny_run: Path) -> "Engine":
    """That run's model, loaded."""
    from bintally.inference.engine import Engine

    return Engine(tiny_run / "model.onnx")


@pytest.fixture(scope="session")
def photo_file(drawn: "Manifest") -> Path:
    """One photo of the drawn dataset."""
    return drawn.root / drawn.frame["photo_key"][0]


@pytest.fixture(autouse=True)
def no_model_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have a model of their own."""
    monkeypatch.delenv("BINTALLY_MODEL", raising=False)


@pytest.fixture
def no_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No model is installed, named or added; the folder where added ones would lie."""
    from bintally.inference import library

    monkeypatch.setattr(library, "entry_points", lambda group: [])
    monkeypatch.setattr(library, "user_data_path", lambda *_, **__: tmp_path / "own")
    monkeypatch.delenv("BINTALLY_MODEL", raising=False)
    return library.models_folder()
