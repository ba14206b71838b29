"""`bintally tune`: options to a study, refusals, and its results on photos."""

from pathlib import Path

import pytest
from tests.cli.runner import Bintally
from tests.tiny_run import TINY, draw_dataset

from bintally.cli.tune_progress import time_left
from bintally.data.manifest import Manifest
from bintally.models.checkpoint import load_checkpoint

SPACE = """
[space]
optimiser.lr = { low = 0.001, high = 0.01, log = true }
batch_size = { choices = [8, 16] }
epochs = { low = 1, high = 2 }
"""
FIXED = [part for change in TINY if "epochs" not in change and "batch" not in change for part in ("--set", change)]


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(SPACE)
    return path


def test_a_study_on_photos_gives_settings_that_train_takes(
    bintally: Bintally, drawn: Manifest, space: Path, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    options = ["--recipe", "smallcnn", *FIXED, "--space", space, "--study", study, "--limit-photos", "60"]
    run = bintally("tune", drawn.root, *options, "--trials", "3", "--workers", "2", "--no-progress")
    assert run.code == 0, run.err
    assert run.out.startswith("3 trials: ")
    assert "Best: trial " in run.out
    assert f"Next: bintally train {drawn.root} --config {study / 'best.toml'}" in run.out
    assert "Learned from a part of the photos: about 60" in (study / "report.html").read_text()

    kept = [path.parent.name for path in study.glob("trials/*/checkpoint.json")]
    assert len(kept) == 1
    settings = load_checkpoint(study / "trials" / kept[0]).facts.settings

    trained = bintally("train", drawn.root, "--config", study / "best.toml", "--out", tmp_path / "run", "--no-progress")
    assert trained.code == 0, trained.err
    facts = load_checkpoint(tmp_path / "run").facts
    assert facts.settings.recipe == "smallcnn-tuned"
    assert facts.settings.optimiser == settings.optimiser
    assert (facts.settings.epochs, facts.settings.batch_size) == (settings.epochs, settings.batch_size)


def test_another_recipe_space_dataset_or_part_is_refused(
    bintally: Bintally, drawn: Manifest, space: Path, tmp_path: Path
) -> None:
    study = ["--study", tmp_path / "study", "--no-progress", "--hours", "0"]
    begun = ["--recipe", "smallcnn", *FIXED, "--space", space, *study]
    assert bintally("tune", drawn.root, *begun).code == 2, "in no time no trial comes to its end"
    other = draw_dataset(tmp_path / "other", photos=60, seed=1)
    for data, options, said in (
        (drawn.root, [*begun, "--set", "patience=9"], "settings.patience was 4, is 9"),
        (drawn.root, [*begun, "--limit-photos", "50"], "limit_photos was None, is 50"),
        (drawn.root, [*begun, "--seed", "3"], "settings.seed was 0, is 3"),
        (drawn.root, ["--recipe", "course", *FIXED, "--space", space, *study], "recipe was smallcnn, is course"),
        (drawn.root, ["--recipe", "smallcnn", *FIXED, *study], "space.optimiser.lr.high was 0.01, is 0.1"),
        (other.root, begun, "manifest_hash was"),
    ):
        run = bintally("tune", data, *options)
        assert run.code == 2, said
        assert said in run.err
        assert "choose another --study" in run.err
        assert len(run.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ([], 2, "either --recipe NAME or --config FILE"),
        (["--recipe", "resnet9"], 2, "no recipe is called 'resnet9'"),
        (["--recipe", "smallcnn", "--space", "nowhere"], 2, "no space is called 'nowhere'"),
        (["--recipe", "smallcnn", "--space", "resnet101-course"], 2, "is for recipe 'resnet101'"),
        (["--recipe", "smallcnn", "--space", "extended"], 2, "trains from nothing"),
        (["--recipe", "smallcnn", "--set", "epochs=3"], 2, "which the command fixes"),
        (["--recipe", "smallcnn", "--limit-photos", "9"], 2, "a batch of 64 is larger than the train split"),
        (["--recipe", "resnet50", "--space", "extended", "--weights", "x.pth"], 2, "--weights x.pth fits one"),
        (["--recipe", "smallcnn", "--study", "postgresql://a:hush@h/d"], 2, "PGPASSWORD"),
        (["--recipe", "smallcnn", "--trials", "0"], 2, "--trials"),
        (["--recipe", "smallcnn", "--workers", "0"], 2, "--workers"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_meant_is_a_sentence_and_leaves_nothing(
    options: list[str],
    code: int,
    said: str,
    bintally: Bintally,
    drawn: Manifest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    run = bintally("tune", drawn.root, *options)
    assert run.code == code
    assert said in run.err
    assert "hush" not in run.err
    assert run.out == ""
    assert list(tmp_path.iterdir()) == []


def test_resnet101_needs_no_recipe_with_its_own_space(
    bintally: Bintally, drawn: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = bintally("tune", drawn.root, "--space", "resnet101-course", "--limit-photos", "9")
    assert run.code == 2
    assert "a batch of 64 is larger than the train split" in run.err, "so the recipe was understood"


def test_no_dataset_is_5(bintally: Bintally, tmp_path: Path) -> None:
    run = bintally("tune", tmp_path, "--recipe", "smallcnn")
    assert run.code == 5
    assert "bintally ingest" in run.err


def test_a_folder_of_something_else_is_2(bintally: Bintally, drawn: Manifest, space: Path) -> None:
    run = bintally("tune", drawn.root, "--recipe", "smallcnn", *FIXED, "--space", space, "--study", drawn.root)
    assert run.code == 2
    assert "it is no study's folder" in run.err


def test_a_damaged_study_is_3(bintally: Bintally, drawn: Manifest, space: Path, tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "journal.log").write_text("nonsense\n")
    study = ["--study", tmp_path / "study"]
    run = bintally("tune", drawn.root, "--recipe", "smallcnn", *FIXED, "--space", space, *study)
    assert run.code == 3
    assert "damaged" in run.err


def test_the_time_that_is_left_is_told() -> None:
    assert time_left(4, 8, 3600.0, None) == "about 2.0 h left"
    assert time_left(4, 1, 20.0, None) == "about 1 min left"
    assert time_left(4, 0, 20.0, None) == ""
    assert time_left(0, 8, 20.0, None) == ""
