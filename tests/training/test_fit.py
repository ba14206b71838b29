"""A training run from end to end: what it learns from, what it leaves behind, and what it refuses."""

import csv
import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import lightning
import polars as pl
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from tests.small_dataset import draw_photo
from tests.tiny_run import copy_dataset, fit_tiny, tiny_settings
from torch import Tensor

from bintally.data.manifest import Manifest, Split
from bintally.errors import BintallyError, CheckpointError, ManifestError, PhotoError, SettingsError, WeightsError
from bintally.evaluation.results import read_curves
from bintally.models.calibration import fit_calibration
from bintally.models.checkpoint import Checkpoint, load_checkpoint
from bintally.models.dataset import PhotoDataset
from bintally.settings import read_settings
from bintally.training.curves import CURVES_COLUMNS, CURVES_NAME
from bintally.training.fit import DEFAULT_LICENCE, SETTINGS_NAME, _use_bf16, choose_classes, predict_logits
from bintally.training.module import CountModule
from bintally.training.resume import STATE_NAME

FINISHED = ["checkpoint.json", "checkpoint.safetensors", "curves.csv", "settings.toml"]
NO_AUGMENT = ("augment.flip_horizontal=false", "augment.brightness=0.0", "augment.contrast=0.0")


def names(run: Path) -> list[str]:
    return sorted(path.name for path in run.iterdir())


def curves(run: Path) -> list[dict[str, float]]:
    with (run / CURVES_NAME).open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def without_seconds(run: Path) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in curves(run)]


def judged(checkpoint: Checkpoint, manifest: Manifest, split: Split) -> tuple[Tensor, Tensor]:
    """The checkpoint's logits and the true classes of a split."""
    settings, classes = checkpoint.facts.settings, checkpoint.facts.classes
    data = PhotoDataset(manifest.usable(split), manifest.root, classes=classes, settings=settings, augment=None)
    return predict_logits(CountModule(checkpoint.network, classes, settings), data, settings)


def loss_of(checkpoint: Checkpoint, manifest: Manifest, split: Split) -> float:
    return float(torch.nn.functional.cross_entropy(*judged(checkpoint, manifest, split)))


def weights_equal(one: Checkpoint, other: Checkpoint) -> bool:
    state = other.network.state_dict()
    return all(torch.equal(tensor, state[name]) for name, tensor in one.network.state_dict().items())


class Watcher(Callback):
    """Keeps the classes of every training batch, by epoch."""

    def __init__(self) -> None:
        self.steps = 0
        self.order: dict[int, list[int]] = {}

    def on_train_batch_start(self, trainer: lightning.Trainer, _module: object, batch: list[Tensor], _at: int) -> None:
        self.order.setdefault(trainer.current_epoch, []).extend(batch[1].tolist())

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        self.steps = trainer.global_step


class Spoiler(Callback):
    """Spoils the head before every epoch from the third on, so that the best one is among the first two."""

    def on_train_epoch_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if trainer.current_epoch >= 2:
            with torch.no_grad():
                module.network.head.weight.mul_(-100)  # type: ignore[operator,union-attr]


def test_it_overfits_eight_photos(drawn: Manifest, tmp_path: Path) -> None:
    train = drawn.usable(Split.TRAIN)
    eight = [train.filter(pl.col("count") == count)["photo_id"][0] for count in (1, 2, 3, 4, 5)]
    eight += [photo_id for photo_id in train["photo_id"] if photo_id not in eight][:3]
    frame = drawn.frame.filter((pl.col("split") != "train") | pl.col("photo_id").is_in(eight))
    few = replace(drawn, frame=frame)
    changes = ("epochs=40", "patience=40", "batch_size=8", "optimiser.lr=0.005", *NO_AUGMENT)
    fit_tiny(few, tmp_path / "run", *changes)
    last = curves(tmp_path / "run")[-1]
    assert last["train_accuracy"] == 1.0
    assert last["train_loss"] < 0.1


class TestWhatItLeaves:
    def test_a_finished_run_holds_four_files_and_no_scratch(self, drawn: Manifest, tmp_path: Path) -> None:
        checkpoint = fit_tiny(drawn, tmp_path / "deep" / "run")
        run = tmp_path / "deep" / "run"
        assert names(run) == FINISHED
        loaded = load_checkpoint(run)
        assert loaded.facts == checkpoint.facts
        assert weights_equal(loaded, checkpoint)
        assert read_settings(run / SETTINGS_NAME) == checkpoint.facts.settings == tiny_settings()

    def test_its_facts_say_where_it_comes_from(self, drawn: Manifest, tmp_path: Path) -> None:
        facts = fit_tiny(drawn, tmp_path / "run", licence="mine alone").facts
        assert facts.name == "run"
        assert facts.provenance.source == drawn.header.source
        assert facts.provenance.manifest_hash == drawn.content_hash
        assert facts.provenance.split_hash == drawn.split_hash
        assert facts.provenance.settings_hash == tiny_settings().content_hash
        assert facts.provenance.weights == "none"
        assert facts.provenance.excluded_flags == ("total-mismatch", "exact-duplicate")
        assert facts.provenance.prepared == ""
        assert facts.provenance.licence == "mine alone"
        assert "NC" in DEFAULT_LICENCE

    def test_its_curves_have_a_row_per_epoch(self, tiny_run: Path, tiny_checkpoint: Checkpoint) -> None:
        rows = curves(tiny_run)
        assert tuple(rows[0]) == CURVES_COLUMNS
        assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
        assert tiny_checkpoint.facts.epochs_run == 6
        read = read_curves(tiny_run / CURVES_NAME)
        best = min(rows, key=lambda row: row["val_loss"])
        assert read.val_loss[int(best["epoch"]) - 1] == best["val_loss"]
        assert tiny_checkpoint.facts.best_epoch == best["epoch"]
        kept = {name: tiny_checkpoint.facts.metrics[name] for name in CURVES_COLUMNS[1:5]}
        assert kept == {name: best[name] for name in CURVES_COLUMNS[1:5]}

    def test_the_calibration_is_the_calibration_splits(self, drawn: Manifest, tiny_checkpoint: Checkpoint) -> None:
        logits, classes = judged(tiny_checkpoint, drawn, Split.CALIBRATION)
        kept, fitted = tiny_checkpoint.facts.calibration, fit_calibration(logits, classes)
        assert fitted.temperature == pytest.approx(kept.temperature, rel=1e-3)
        assert fitted.biases == pytest.approx(kept.biases, abs=1e-3)
        assert max(kept.biases) > 0.01
        loss = torch.nn.functional.cross_entropy(kept(logits), classes)
        assert tiny_checkpoint.facts.metrics["calibration_loss"] == pytest.approx(float(loss), abs=1e-4)


class TestReproducible:
    def test_the_same_seed_gives_the_same_run_and_another_another(self, drawn: Manifest, tmp_path: Path) -> None:
        watchers = [Watcher() for _ in range(3)]
        one, again, other = (
            fit_tiny(drawn, tmp_path / f"run{number}", seed, callbacks=(watcher,))
            for number, (seed, watcher) in enumerate(zip(("seed=5", "seed=5", "seed=6"), watchers, strict=True))
        )
        assert weights_equal(one, again)
        assert without_seconds(tmp_path / "run0") == without_seconds(tmp_path / "run1")
        assert one.facts.calibration == again.facts.calibration
        assert watchers[0].order == watchers[1].order
        assert not weights_equal(one, other)
        assert without_seconds(tmp_path / "run0") != without_seconds(tmp_path / "run2")
        assert watchers[0].order != watchers[2].order

    def test_every_epoch_has_an_order_of_its_own(self, drawn: Manifest, tmp_path: Path) -> None:
        watcher = Watcher()
        fit_tiny(drawn, tmp_path / "run", callbacks=(watcher,))
        assert set(watcher.order) == {0, 1}
        assert watcher.order[0] != watcher.order[1]


class TestTheBestEpoch:
    @pytest.mark.parametrize(
        "changes", [("optimiser.ema_decay=0.0",), ("optimiser.ema_decay=0.7",)], ids=["plain", "averaged weights"]
    )
    def test_its_weights_are_the_ones_saved(self, changes: tuple[str, ...], drawn: Manifest, tmp_path: Path) -> None:
        """Also that averaged weights are saved where those were judged: Lightning's default saves the others."""
        fit_tiny(drawn, tmp_path / "run", *changes, "epochs=4", callbacks=(Spoiler(),))
        losses = [row["val_loss"] for row in curves(tmp_path / "run")]
        assert losses.index(min(losses)) < 2
        found = loss_of(load_checkpoint(tmp_path / "run"), drawn, Split.VAL)
        assert found == pytest.approx(min(losses), abs=1e-4)
        assert all(abs(found - loss) > 1e-3 for loss in losses if loss != min(losses))

    def test_averaging_makes_other_weights(self, drawn: Manifest, tmp_path: Path) -> None:
        plain, averaged = (
            fit_tiny(drawn, tmp_path / decay, f"optimiser.ema_decay={decay}") for decay in ("0.0", "0.9")
        )
        assert not weights_equal(plain, averaged)
        trained = [[row["train_loss"] for row in curves(tmp_path / decay)] for decay in ("0.0", "0.9")]
        assert trained[0] == pytest.approx(trained[1], abs=1e-6), "averaging is beside the training, not in it"

    def test_the_average_of_a_short_run_is_not_of_its_beginning(self, drawn: Manifest, tmp_path: Path) -> None:
        """One decay throughout would keep 0.998^9 = 98 % of the weights after the first of ten steps."""
        seen: list[Tensor] = []

        class Seen(Callback):
            def on_train_batch_end(self, _trainer: object, module: CountModule, *_: object) -> None:
                seen.append(module.network.head.weight.detach().clone())

        averaged = fit_tiny(drawn, tmp_path / "run", "optimiser.ema_decay=0.998", callbacks=(Seen(),), max_steps=10)
        moved = (seen[-1] - seen[0]).norm()
        assert (averaged.network.head.weight - seen[0]).norm() > 0.5 * moved
        assert (averaged.network.head.weight - seen[-1]).norm() < 0.5 * moved

    @pytest.mark.parametrize("patience", [1, 3])
    def test_it_stops_after_so_many_epochs_without_a_better_one(
        self, patience: int, drawn: Manifest, tmp_path: Path
    ) -> None:
        settings = ("epochs=12", f"patience={patience}")
        facts = fit_tiny(drawn, tmp_path / "run", *settings, callbacks=(Spoiler(),)).facts
        assert facts.best_epoch <= 2
        assert facts.epochs_run == facts.best_epoch + patience
        assert len(curves(tmp_path / "run")) == facts.epochs_run


class TestMaxSteps:
    @pytest.mark.parametrize(("max_steps", "epochs"), [(1, 1), (2, 1), (5, 1), (7, 2)])
    @pytest.mark.parametrize("ema", ["0.0", "0.9"], ids=["plain", "averaged"])
    def test_it_stops_there_and_still_judges_and_saves(
        self, max_steps: int, epochs: int, ema: str, drawn: Manifest, tmp_path: Path
    ) -> None:
        watcher = Watcher()
        changes = ("epochs=3", f"optimiser.ema_decay={ema}")
        facts = fit_tiny(drawn, tmp_path / "run", *changes, callbacks=(watcher,), max_steps=max_steps).facts
        assert watcher.steps == max_steps
        assert facts.epochs_run == epochs
        assert names(tmp_path / "run") == FINISHED
        losses = [row["val_loss"] for row in curves(tmp_path / "run")]
        assert len(set(losses)) == epochs, "each epoch was judged, the broken-off one too"
        assert loss_of(load_checkpoint(tmp_path / "run"), drawn, Split.VAL) == pytest.approx(min(losses), abs=1e-4)

    @pytest.mark.parametrize("max_steps", [0, -2])
    def test_no_steps_at_all_is_refused(self, max_steps: int, drawn: Manifest, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match="--max-steps: expected 1 or more"):
            fit_tiny(drawn, tmp_path / "run", max_steps=max_steps)
        assert not (tmp_path / "run").exists()


class TestSplits:
    def test_test_photos_are_never_read(self, drawn: Manifest, tmp_path: Path) -> None:
        manifest = copy_dataset(drawn, tmp_path / "data")
        for key in manifest.usable(Split.TEST)["photo_key"]:
            (manifest.root / key).unlink()
        checkpoint = fit_tiny(manifest, tmp_path / "run")
        assert weights_equal(checkpoint, fit_tiny(drawn, tmp_path / "whole"))

    @pytest.mark.parametrize("split", [Split.TRAIN, Split.VAL, Split.CALIBRATION])
    def test_a_broken_photo_is_named(self, split: Split, drawn: Manifest, tmp_path: Path) -> None:
        manifest = copy_dataset(drawn, tmp_path / "data")
        key = manifest.usable(split)["photo_key"][0]
        (manifest.root / key).write_bytes(draw_photo(3)[:200])
        with pytest.raises(PhotoError, match=Path(key).name):
            fit_tiny(manifest, tmp_path / "run")
        assert not (tmp_path / "run" / "checkpoint.json").exists()
        assert set(names(tmp_path / "run")) <= {SETTINGS_NAME, CURVES_NAME, STATE_NAME}, "what it can go on from"

    def test_a_photo_that_is_gone_is_named(self, drawn: Manifest, tmp_path: Path) -> None:
        manifest = copy_dataset(drawn, tmp_path / "data")
        key = manifest.usable(Split.TRAIN)["photo_key"][0]
        (manifest.root / key).unlink()
        with pytest.raises(ManifestError, match=f"{Path(key).name}.*bintally ingest"):
            fit_tiny(manifest, tmp_path / "run")

    def test_a_manifest_without_splits_is_refused(self, drawn: Manifest, tmp_path: Path) -> None:
        with pytest.raises(ManifestError, match="bintally split"):
            fit_tiny(replace(drawn, header=replace(drawn.header, salt="")), tmp_path / "run")
        assert not (tmp_path / "run").exists()


def flagged(manifest: Manifest, photo_ids: list[str], flag: str) -> Manifest:
    """The manifest with those photos flagged."""
    here = pl.col("photo_id").is_in(photo_ids)
    return replace(
        manifest, frame=manifest.frame.with_columns(flags=pl.when(here).then(pl.lit([flag])).otherwise("flags"))
    )


class TestFlags:
    def test_an_unknown_flag_is_refused_before_anything_else(self, drawn: Manifest, tmp_path: Path) -> None:
        """Also where nothing else is right."""
        unsplit = replace(drawn, header=replace(drawn.header, salt=""))
        with pytest.raises(SettingsError, match="'dim': there is no such flag; there are not-fetched"):
            fit_tiny(unsplit, tmp_path / "run", 'data.excluded_flags=["dark", "dim"]', max_steps=0)
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize("split", [Split.TRAIN, Split.VAL, Split.CALIBRATION])
    def test_a_photo_that_the_recipe_leaves_out_is_never_read(
        self, split: Split, drawn: Manifest, tmp_path: Path
    ) -> None:
        manifest = copy_dataset(drawn, tmp_path / "data")
        out = manifest.usable(split)["photo_id"][0]
        (manifest.root / "bin-images" / f"{out}.jpg").unlink()
        dark = flagged(manifest, [out], "dark")
        facts = fit_tiny(dark, tmp_path / "run", 'data.excluded_flags=["dark"]').facts
        assert facts.provenance.excluded_flags == facts.settings.data.excluded_flags == ("dark",)
        with pytest.raises(ManifestError, match=f"{out}.jpg"):
            fit_tiny(dark, tmp_path / "other", "data.excluded_flags=[]")

    def test_a_class_is_what_is_left_in_training(self, drawn: Manifest) -> None:
        fives = drawn.frame.filter(pl.col("count") == 5)["photo_id"].to_list()
        dark = flagged(drawn, fives, "dark")
        assert choose_classes(dark, tiny_settings('data.excluded_flags=["dark"]')).high == 4
        assert choose_classes(dark, tiny_settings("data.excluded_flags=[]")).high == 5

    def test_the_log_says_how_many_are_kept_out(
        self, drawn: Manifest, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        dark = flagged(drawn, drawn.usable(Split.TRAIN)["photo_id"].to_list()[:3], "dark")
        with caplog.at_level("INFO", logger="bintally.training.fit"):
            fit_tiny(dark, tmp_path / "run", 'data.excluded_flags=["dark"]', max_steps=1)
        assert "'truncated': 0, 'dark': 3}" in caplog.text


class TestPrepared:
    @staticmethod
    def at(side_px: int, manifest: Manifest) -> Manifest:
        note = {"side_px": side_px, "format": "jpeg", "quality": 95, "resize": "squash-bicubic", "hash": "0123456789ab"}
        return replace(manifest, header=replace(manifest.header, extra={"prepared": json.dumps(note)}))

    def test_photos_of_the_recipes_side_are_learned_from_and_named(self, drawn: Manifest, tmp_path: Path) -> None:
        facts = fit_tiny(self.at(32, drawn), tmp_path / "run", max_steps=1).facts
        assert load_checkpoint(tmp_path / "run").facts.provenance.prepared == "0123456789ab"
        assert facts.provenance.prepared == "0123456789ab"

    def test_photos_of_another_side_are_refused(self, drawn: Manifest, tmp_path: Path) -> None:
        said = r"prepared at 224 px, but recipe 'smallcnn' sees 32 px\..* --side 32; or .* --set data\.side_px=224"
        with pytest.raises(ManifestError, match=said):
            fit_tiny(self.at(224, drawn), tmp_path / "run")
        assert not (tmp_path / "run").exists()


class TestCounts:
    def test_closed_counts_are_the_only_ones_learned_from(self, drawn: Manifest, tmp_path: Path) -> None:
        watcher = Watcher()
        facts = fit_tiny(drawn, tmp_path / "run", "data.counts=[1, 4]", callbacks=(watcher,)).facts
        assert (facts.low, facts.high, facts.open_ended) == (1, 4, False)
        assert (facts.classes.size, facts.classes.last_count) == (4, 5)
        assert load_checkpoint(tmp_path / "run").network.head.out_features == 4
        assert set(watcher.order[0]) == {0, 1, 2, 3}

    def test_otherwise_every_count_in_training_is_a_class(self, drawn: Manifest) -> None:
        classes = choose_classes(drawn, tiny_settings())
        assert (classes.low, classes.high, classes.open_ended) == (0, 5, True)

    def test_k_may_be_lower_than_the_largest_count(self, drawn: Manifest) -> None:
        classes = choose_classes(drawn, tiny_settings("data.last_count=3"))
        assert (classes.low, classes.high, classes.open_ended) == (0, 3, True)

    def test_a_count_that_training_lacks_is_named(self, drawn: Manifest, tmp_path: Path) -> None:
        with pytest.raises(ManifestError, match=r"no training photo has \[6, 7\] items"):
            fit_tiny(drawn, tmp_path / "run", "data.counts=[1, 7]")
        assert not (tmp_path / "run").exists()

    def test_empty_bins_only_teach_nothing(self, drawn: Manifest) -> None:
        empty = replace(drawn, frame=drawn.frame.with_columns(count=pl.lit(0, pl.Int32)))
        with pytest.raises(ManifestError, match="every training photo counts 0"):
            choose_classes(empty, tiny_settings())

    def test_one_count_only_teaches_nothing(self, drawn: Manifest) -> None:
        three = replace(drawn, frame=drawn.frame.with_columns(count=pl.lit(3, pl.Int32)))
        with pytest.raises(ManifestError, match="every training photo counts 3: there is nothing to tell apart"):
            choose_classes(three, tiny_settings())

    def test_counts_above_the_largest_in_training_are_that_or_more(self, drawn: Manifest, tmp_path: Path) -> None:
        """A val photo of 9 items is no error where training ends at 5."""
        val = pl.col("split") == "val"
        many = pl.when(val).then(pl.lit(9, pl.Int32)).otherwise(pl.col("count")).alias("count")
        frame = drawn.frame.with_columns(many)
        logits, classes = judged(
            fit_tiny(replace(drawn, frame=frame), tmp_path / "run"), replace(drawn, frame=frame), Split.VAL
        )
        assert logits.shape[1] == 6
        assert (classes == 5).all()


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "weights", "error"),
        [
            (("model.backbone=resnet51",), None, SettingsError),
            (("model.backbone=resnet10t", "model.pretrained=true"), Path("nowhere.safetensors"), WeightsError),
            ((), Path("any.safetensors"), SettingsError),
        ],
        ids=["unknown backbone", "missing weights", "weights for a network that wants none"],
    )
    def test_a_failure_before_training_leaves_nothing(
        self,
        changes: tuple[str, ...],
        weights: Path | None,
        error: type[BintallyError],
        drawn: Manifest,
        tmp_path: Path,
    ) -> None:
        with pytest.raises(error):
            fit_tiny(drawn, tmp_path / "runs" / "run", *changes, weights=weights)
        assert list(tmp_path.iterdir()) == []

    def test_a_finished_run_is_left_alone(self, drawn: Manifest, tiny_run: Path) -> None:
        before = {path: path.read_bytes() for path in tiny_run.iterdir()}
        with pytest.raises(CheckpointError, match=r"finished run already; choose another --out"):
            fit_tiny(drawn, tiny_run)
        assert {path: path.read_bytes() for path in tiny_run.iterdir()} == before

    def test_an_unfinished_run_may_be_trained_again(self, drawn: Manifest, tmp_path: Path) -> None:
        run = tmp_path / "run"
        run.mkdir()
        (run / CURVES_NAME).write_text("epoch\n99\n")
        fit_tiny(drawn, run)
        assert names(run) == FINISHED
        assert [row["epoch"] for row in curves(run)] == [1, 2]

    def test_a_loss_that_is_no_number_is_said_and_not_saved(self, drawn: Manifest, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match=r"optimiser\.lr"):
            fit_tiny(drawn, tmp_path / "run", "optimiser.lr=1e30")
        assert "checkpoint.json" not in names(tmp_path / "run")

    @pytest.fixture
    def interrupts(self) -> Iterator[None]:
        """Lightning switches the interrupt key off for good once it was pressed."""
        before = signal.getsignal(signal.SIGINT)
        yield
        signal.signal(signal.SIGINT, before)

    @pytest.mark.usefixtures("interrupts")
    def test_an_interrupt_is_an_interrupt(self, drawn: Manifest, tmp_path: Path) -> None:
        class Interrupting(Callback):
            def on_train_batch_end(self, *_: object) -> None:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            fit_tiny(drawn, tmp_path / "run", callbacks=(Interrupting(),))
        assert names(tmp_path / "run") == [SETTINGS_NAME]


def test_a_gpu_that_only_emulates_bf16_gets_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the T4 does: by default torch counts that as support."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert not _use_bf16(tiny_settings("precision='auto'"))
    assert _use_bf16(tiny_settings("precision='bf16'"))


def test_bf16_learns_too(drawn: Manifest, tmp_path: Path) -> None:
    checkpoint = fit_tiny(drawn, tmp_path / "run", "precision='bf16'", "epochs=1", max_steps=2)
    assert {tensor.dtype for tensor in checkpoint.network.parameters()} == {torch.float32}
    assert torch.isfinite(judged(checkpoint, drawn, Split.VAL)[0]).all()
