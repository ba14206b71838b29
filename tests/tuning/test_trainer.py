"""A trial trained on photos."""

import os
from pathlib import Path

import pytest
import torch
from tests.tiny_run import tiny_settings

from bintally.data.manifest import Manifest
from bintally.errors import StoppedError
from bintally.models.checkpoint import load_checkpoint
from bintally.tuning.objective import Progress
from bintally.tuning.trainer import FitTrial, take_gpu

SETTINGS = tiny_settings("epochs=3")


def test_it_tells_of_every_epoch_and_what_it_cost(drawn: Manifest, tmp_path: Path) -> None:
    told: list[Progress] = []
    progress = FitTrial(manifest=drawn)(SETTINGS, tmp_path / "run", told.append)
    facts = load_checkpoint(tmp_path / "run").facts
    assert [len(each.losses) for each in told] == [1, 2, 3]
    assert [each.steps for each in told] == [each.steps_per_epoch * epoch for epoch, each in enumerate(told, 1)]
    assert progress.losses == told[-1].losses
    assert min(progress.losses) == facts.metrics["val_loss"]
    assert progress.seconds == facts.seconds >= told[-1].seconds
    assert progress.steps == told[-1].steps > 0


def test_a_trial_that_was_done_when_its_worker_died_is_not_done_again(drawn: Manifest, tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = FitTrial(manifest=drawn)(SETTINGS, run, lambda _: None)
    before = (run / "checkpoint.safetensors").stat().st_mtime_ns
    again = FitTrial(manifest=drawn)(SETTINGS, run, pytest.fail)
    assert (again.losses, again.seconds) == (first.losses, first.seconds)
    assert again.steps == 0, "what it took is known from before"
    assert (run / "checkpoint.safetensors").stat().st_mtime_ns == before


def test_broken_off_it_goes_on_and_tells_of_earlier_epochs_too(drawn: Manifest, tmp_path: Path) -> None:
    whole = FitTrial(manifest=drawn)(SETTINGS, tmp_path / "whole", lambda _: None)
    run = tmp_path / "run"

    def stop(progress: Progress) -> None:
        if len(progress.losses) == 2:
            raise StoppedError("here")

    with pytest.raises(StoppedError):
        FitTrial(manifest=drawn)(SETTINGS, run, stop)
    assert (run / "resume.pt").exists()
    told: list[Progress] = []
    progress = FitTrial(manifest=drawn)(SETTINGS, run, told.append)
    assert progress.losses == whole.losses
    assert (told[-1].steps, told[-1].steps_per_epoch) == (whole.steps, whole.steps_per_epoch)


def test_what_does_not_fit_any_more_is_begun_anew(drawn: Manifest, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "resume.pt").write_bytes(b"of another version")
    progress = FitTrial(manifest=drawn)(SETTINGS, run, lambda _: None)
    assert len(progress.losses) == 3


@pytest.mark.parametrize(("seen", "place", "wanted"), [(None, 3, "1"), ("4,7", 0, "4"), ("4,7", 5, "7")])
def test_workers_take_turns_with_gpus(
    seen: str | None, place: int, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if seen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # so that it is put back
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    take_gpu(place)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == wanted


def test_one_gpu_or_none_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for gpus in (0, 1):
        monkeypatch.setattr(torch.cuda, "device_count", lambda gpus=gpus: gpus)
        take_gpu(1)
        assert "CUDA_VISIBLE_DEVICES" not in os.environ
