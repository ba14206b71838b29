"""`bintally train --profile`: what is said at the end, what is left in the run's folder, and with whom it agrees."""

from pathlib import Path

import pytest
from tests.cli.runner import Bintally
from tests.cli.test_train import SMALL

from bintally.data.manifest import Manifest
from bintally.training.profile.phases import Phase
from bintally.training.profile.result import FILE_NAME, PAGE_NAME, read_profile
from bintally.training.profile.window import TRACE_NAME

FAST = ["--recipe", "smallcnn", *SMALL, "--epochs", "2", "--no-progress", "--profile"]


@pytest.fixture(autouse=True)
def no_loader_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take many seconds to start."""
    monkeypatch.setattr("bintally.training.profile.trials._numbers_of_workers", lambda *_: [])


@pytest.mark.parametrize("watched", [True, False], ids=["watched", "unwatched"])
def test_the_last_lines_say_shares_advice_and_where_to_look(
    watched: bool, bintally: Bintally, drawn: Manifest, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    run = bintally("train", drawn.root, *FAST, *([] if watched else ["--no-watch"]), "--out", out)
    assert run.code == 0, run.err
    profile = read_profile(out / FILE_NAME)
    (line,) = [line for line in run.out.splitlines() if line.startswith("Profile: ") and "loading" in line]
    assert line == f"Profile: {profile.summary}. See {out / PAGE_NAME}"
    assert profile.advised in line
    assert (profile.phases[Phase.WATCHING] > 0) == watched
    assert {path.name for path in out.iterdir()} >= {PAGE_NAME, FILE_NAME, TRACE_NAME, "checkpoint.json"}
    assert ("Health" in run.out) == watched


def test_without_it_nothing_is_profiled(bintally: Bintally, drawn: Manifest, tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = [each for each in FAST if each != "--profile"]
    run = bintally("train", drawn.root, *options, "--out", out)
    assert run.code == 0, run.err
    assert "Profile" not in run.out
    assert not (out / PAGE_NAME).exists()
