"""A run that learns what finished runs think, beside what is recorded."""

import contextlib
import os
import signal
from pathlib import Path

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import Callback, LambdaCallback
from tests.tiny_run import fit_tiny, tiny_settings
from torch import Tensor

from bintally.data.manifest import Manifest, Split
from bintally.domain.classes import CountClasses
from bintally.errors import CheckpointError, StoppedError
from bintally.models.checkpoint import Checkpoint, build_network, load_checkpoint
from bintally.models.dataset import PhotoDataset
from bintally.models.ensemble import Ensemble
from bintally.training.module import CountModule, soft_targets, targets_of
from bintally.training.resume import BELIEFS_NAME, STATE_NAME
from bintally.training.teacher import beliefs


@pytest.fixture(scope="module")
def other(drawn: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A second teacher."""
    return fit_tiny(drawn, tmp_path_factory.mktemp("teachers") / "other", "seed=9", "epochs=1")


class Lessons(Callback):
    """Keeps what the network is to answer, by the photo's class and what the teacher said."""

    def __init__(self) -> None:
        self.batches: list[tuple[Tensor, Tensor, Tensor]] = []

    def on_train_batch_start(
        self, _trainer: lightning.Trainer, _module: object, batch: tuple[Tensor, Tensor, Tensor], _at: int
    ) -> None:
        self.batches.append(batch)


def equal(one: Checkpoint, other: Checkpoint) -> bool:
    theirs = other.network.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in one.network.state_dict().items())


def taught_by(teachers: list[Checkpoint], manifest: Manifest) -> tuple[PhotoDataset, Tensor]:
    """The training photos, and what the teachers' calibrated mean says of them and their mirror images."""
    facts = teachers[0].facts
    rows = manifest.usable(Split.TRAIN, facts.settings.data.excluded_flags)
    photos = PhotoDataset(rows, manifest.root, classes=facts.classes, settings=facts.settings, augment=None)
    mean = Ensemble(teachers, mirror=True).calibrate(manifest)
    with torch.inference_mode():
        return photos, mean(torch.stack([photos[0, index][0] for index in range(len(photos))]))


def test_targets_are_a_mean_of_both() -> None:
    classes, believed = torch.tensor([1, 2]), torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    photos = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    settings = tiny_settings("label_softness=0.5", "teacher_weight=0.25")
    recorded = soft_targets(classes, 3, 0.5)
    assert torch.allclose(targets_of((photos, classes, believed), 3, settings), 0.75 * recorded + 0.25 * believed)
    assert torch.equal(targets_of((photos, classes), 3, settings), recorded)

    three = CountClasses(low=0, high=2, open_ended=True)
    module = CountModule(build_network(settings, three), three, settings).eval()
    module.log = lambda *_, **__: None  # type: ignore[method-assign,assignment]
    loss = module.training_step((photos, classes, believed), 0)
    by_hand = -(module(photos).log_softmax(dim=1) * (0.75 * recorded + 0.25 * believed)).sum(dim=1).mean()
    assert loss.item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_each_photo_comes_with_what_the_teachers_say_of_it_unchanged(
    tiny_checkpoint: Checkpoint, other: Checkpoint, drawn: Manifest, tmp_path: Path
) -> None:
    teachers = [tiny_checkpoint, other]
    photos, said = taught_by(teachers, drawn)
    lessons = Lessons()
    progress: list[tuple[int, int]] = []
    changes = ("augment.shrink=0.4", "augment.flip_vertical=true", "batch_size=8", "epochs=1")
    student = fit_tiny(
        drawn,
        tmp_path / "run",
        *changes,
        teachers=teachers,
        callbacks=(lessons,),
        on_taught=lambda *done: progress.append(done),
    )
    classes, believed = (torch.cat(each) for each in list(zip(*lessons.batches, strict=True))[1:])
    order = [int((said - row).abs().sum(dim=1).argmin()) for row in believed]
    assert len(set(order)) == len(order) >= len(photos) - 7, "each photo once; an incomplete batch is left out"
    assert torch.allclose(believed, said[order], atol=1e-5)
    assert torch.equal(classes, photos.labels[order])
    calibration = len(drawn.usable(Split.CALIBRATION, tiny_checkpoint.facts.settings.data.excluded_flags))
    parts = [-(-calibration // tiny_checkpoint.facts.settings.batch_size), -(-len(photos) // 8)]
    assert progress == [(done, batches) for batches in parts for done in range(1, batches + 1)]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "checkpoint.json",
        "checkpoint.safetensors",
        "curves.csv",
        "settings.toml",
    ]
    assert [name.partition(" ")[0] for name in student.facts.provenance.teachers] == ["tiny", "other"]


def test_a_teacher_without_weight_teaches_nothing(tiny_checkpoint: Checkpoint, drawn: Manifest, tmp_path: Path) -> None:
    alone = fit_tiny(drawn, tmp_path / "alone", "epochs=1")
    taught = fit_tiny(drawn, tmp_path / "taught", "epochs=1", "teacher_weight=0", teachers=[tiny_checkpoint])
    assert equal(alone, taught)


@pytest.mark.parametrize("when", ["before the first step is saved", "after a step"])
def test_a_run_that_goes_on_has_the_same_lessons(
    when: str, tiny_checkpoint: Checkpoint, other: Checkpoint, drawn: Manifest, tmp_path: Path
) -> None:
    def stop(trainer: lightning.Trainer, *_: object) -> None:
        if trainer.global_step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    run = tmp_path / "run"
    broken = {"teachers": [tiny_checkpoint], "checkpoint_every": 1}
    if when == "after a step":
        with pytest.raises(StoppedError):
            fit_tiny(drawn, run, callbacks=(LambdaCallback(on_train_batch_end=stop),), **broken)
        assert {STATE_NAME, BELIEFS_NAME} <= {path.name for path in run.iterdir()}
        with pytest.raises(CheckpointError, match=r"another kind: teachers was tiny .*, is other .*--no-resume"):
            fit_tiny(drawn, run, teachers=[other])
        asked: list[int] = []
        fit_tiny(drawn, run, **broken, on_taught=lambda done, _: asked.append(done))
        assert not asked, "the teachers have answered already"
    else:
        run.mkdir()
        (run / BELIEFS_NAME).write_bytes(b"of another run, which never got to its first step")
        fit_tiny(drawn, run, **broken)
    assert not (run / BELIEFS_NAME).exists()
    assert equal(load_checkpoint(run), fit_tiny(drawn, tmp_path / "unbroken", teachers=[tiny_checkpoint]))


def test_what_is_kept_of_the_teachers_is_damaged(tiny_checkpoint: Checkpoint, drawn: Manifest, tmp_path: Path) -> None:
    run = tmp_path / "run"

    def stop(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StoppedError):
        fit_tiny(drawn, run, teachers=[tiny_checkpoint], callbacks=(LambdaCallback(on_train_batch_end=stop),))
    (run / BELIEFS_NAME).write_bytes(b"\0" * 40)
    with pytest.raises(CheckpointError, match=rf"{BELIEFS_NAME}: cannot be read .*--no-resume"):
        fit_tiny(drawn, run, teachers=[tiny_checkpoint])


def test_what_is_kept_of_other_teachers_is_asked_anew(
    tiny_checkpoint: Checkpoint, other: Checkpoint, drawn: Manifest, tmp_path: Path
) -> None:
    """A process that does not clear the folder itself may find what another run left there."""
    photos, _ = taught_by([tiny_checkpoint], drawn)
    for teacher in (tiny_checkpoint, other):
        said = beliefs(
            [teacher], drawn, photos, tiny_settings(), kept=tmp_path / BELIEFS_NAME, forward=contextlib.nullcontext
        )
        assert torch.allclose(said, taught_by([teacher], drawn)[1], atol=1e-5)


@pytest.mark.parametrize(
    ("what", "changes", "options"),
    [
        ("counts", ["data.counts=[1, 5]"], {}),
        ("photos' side", ["data.side_px=48"], {}),
        ("licence", [], {"licence": "mine alone"}),
    ],
)
def test_who_learned_another_thing_cannot_teach(
    what: str,
    changes: list[str],
    options: dict[str, str],
    tiny_checkpoint: Checkpoint,
    drawn: Manifest,
    tmp_path: Path,
) -> None:
    with pytest.raises(CheckpointError, match=f"--teacher tiny: it cannot teach this run: their {what} differ"):
        fit_tiny(drawn, tmp_path / "run", *changes, teachers=[tiny_checkpoint], **options)
    assert not (tmp_path / "run").exists()


def test_who_saw_the_students_test_photos_cannot_teach(
    tiny_checkpoint: Checkpoint, drawn: Manifest, tmp_path: Path
) -> None:
    elsewhere = tiny_checkpoint.facts.provenance.model_copy(update={"split_hash": "another"})
    teacher = Checkpoint(
        network=tiny_checkpoint.network, facts=tiny_checkpoint.facts.model_copy(update={"provenance": elsewhere})
    )
    with pytest.raises(CheckpointError, match="their split differ"):
        fit_tiny(drawn, tmp_path / "run", teachers=[teacher])
