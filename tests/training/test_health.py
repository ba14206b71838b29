"""Rules that watch a run: each fires on a run made sick in its way and on no other, and a healthy run raises none."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import lightning
import numpy as np
import polars as pl
import pytest
import timm
import torch
from lightning.pytorch.callbacks import Callback
from PIL import Image
from safetensors.torch import save_file
from tests.small_dataset import make_dataset
from tests.tiny_run import fit_tiny, tiny_settings
from torch import Tensor, nn

from bintally.data.manifest import Manifest, Split
from bintally.errors import ManifestError, SettingsError, WeightsError
from bintally.evaluation.health import Alarm, Health, RuleName, read_health
from bintally.models.checkpoint import load_checkpoint
from bintally.models.dataset import PhotoDataset
from bintally.training.fit import fit
from bintally.training.health.alarms import Alarms
from bintally.training.health.nonfinite import FILE_NAME as NAN_BATCH
from bintally.training.health.rule import Saw
from bintally.training.health.watch import HealthWatch
from bintally.training.module import CountModule
from bintally.training.recipes import recipe_names

Sickness = Callable[[lightning.Trainer, CountModule], None]


@dataclass
class Sick(Callback):
    """Does something to the network before step `at`, once."""

    do: Sickness
    at: int = 0
    done: bool = False

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self.at == 0:
            self._do(trainer, pl_module)

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *_: object
    ) -> None:
        if trainer.global_step >= self.at:
            self._do(trainer, pl_module)

    def _do(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if not self.done:
            with torch.no_grad():
                self.do(trainer, module)  # type: ignore[arg-type]
        self.done = True


def watched(
    manifest: Manifest,
    run: Path,
    *changes: str,
    sick: Sequence[Callback] = (),
    recipe: str = "smallcnn",
    every: int = 2,
    stop_on: Sequence[str] = (),
    said: list[str] | None = None,
    **options: object,
) -> Health:
    """What `health.json` says of a tiny run."""
    settings = tiny_settings(*changes, recipe=recipe)
    stops = frozenset(RuleName(name) for name in stop_on)
    say = (said if said is not None else []).append
    watch = HealthWatch(run, manifest, settings, say=say, stop_on=stops, every=every)
    fit(manifest, settings, run, callbacks=(*sick, watch), progress=False, **options)  # type: ignore[arg-type]
    return read_health(run / "health.json")


def relabelled(manifest: Manifest, count: pl.Expr) -> Manifest:
    return replace(manifest, frame=manifest.frame.with_columns(count=count.cast(pl.Int32)))


def layers(network: nn.Module, *kinds: type[nn.Module]) -> list[nn.Module]:
    return [layer for layer in network.modules() if isinstance(layer, kinds)]


def only(health: Health) -> Alarm:
    assert len(health.alarms) == 1, [(alarm.rule, alarm.saw) for alarm in health.alarms]
    return health.alarms[0]


@pytest.fixture
def photos_that(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[PhotoDataset, int, Tensor], Tensor]], None]:
    """Changes what datasets give: called with (dataset, index, photo)."""
    as_they_are = PhotoDataset.__getitem__

    def change(make: Callable[[PhotoDataset, int, Tensor], Tensor]) -> None:
        def get(self: PhotoDataset, place: tuple[int, int]) -> tuple[Tensor, Tensor]:
            photo, label = as_they_are(self, place)
            return make(self, place[1], photo), label

        monkeypatch.setattr(PhotoDataset, "__getitem__", get)

    return change


@pytest.fixture(scope="module")
def easy(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """240 photos whose brightness is their count: soon learned, and as well on photos never seen."""
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 5, 240).tolist()
    manifest = make_dataset(tmp_path_factory.mktemp("easy") / "data", counts, siblings=1)
    for key, count in manifest.frame.select("photo_key", "count").rows():
        pixels = np.clip(rng.normal(40 + 40 * count, 8, (48, 64, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(manifest.root / key)
    return manifest


# The matrix


def scale_weights(factor: float) -> Sickness:
    def do(_: lightning.Trainer, module: CountModule) -> None:
        for layer in layers(module.network.backbone, nn.Conv2d):
            layer.weight.mul_(factor)  # type: ignore[operator,union-attr]

    return do


def scale_head(factor: float) -> Sickness:
    def do(_: lightning.Trainer, module: CountModule) -> None:
        module.network.head.weight.mul_(factor)

    return do


def make_units_alike(_: lightning.Trainer, module: CountModule) -> None:
    layers(module.network.backbone, nn.Conv2d)[3].weight.fill_(0.05)  # type: ignore[operator,union-attr]


def scale_gradients(factor: float, *, layers_from_start: int | None = None) -> Sickness:
    def do(_: lightning.Trainer, module: CountModule) -> None:
        for weights in list(module.network.parameters())[:layers_from_start]:
            weights.register_hook(lambda gradient: gradient * factor)

    return do


def shrink_norm(_: lightning.Trainer, module: CountModule) -> None:
    norm = layers(module.network.backbone, nn.BatchNorm2d)[4]
    norm.bias.fill_(0.1)  # on, all of them  # type: ignore[operator,union-attr]
    norm.weight.mul_(1e-12)  # type: ignore[operator,union-attr]
    norm.weight.requires_grad_(False)  # type: ignore[union-attr]
    norm.bias.requires_grad_(False)  # type: ignore[union-attr]


def kill_units(_: lightning.Trainer, module: CountModule) -> None:
    layers(module.network.backbone, nn.BatchNorm2d)[2].bias.fill_(-100)  # type: ignore[operator,union-attr]


def kill_most_units(_: lightning.Trainer, module: CountModule) -> None:
    bias = layers(module.network.backbone, nn.BatchNorm2d)[5].bias
    bias[: int(0.6 * len(bias))] = -100  # type: ignore[index,arg-type,operator]


def saturate(_: lightning.Trainer, module: CountModule) -> None:
    module.network.head.bias[2] += 1000


def blow_up_features(_: lightning.Trainer, module: CountModule) -> None:
    layers(module.network.backbone, nn.BatchNorm2d)[-1].weight.mul_(1e5)  # type: ignore[operator,union-attr]


SICK = {
    "poor-initialisation: weights too small": ("poor-initialisation", (), Sick(scale_weights(1e-4))),
    "poor-initialisation: weights too large": ("poor-initialisation", (), Sick(scale_weights(1e4))),
    "poor-initialisation: head too large": ("poor-initialisation", (), Sick(scale_head(1e3))),
    "poor-initialisation: units alike": ("poor-initialisation", (), Sick(make_units_alike)),
    "exploding-gradient: scaled": ("exploding-gradient", (), Sick(scale_gradients(1e4), at=4)),
    "exploding-gradient: features": ("exploding-gradient", (), Sick(blow_up_features, at=4)),
    "dead-units: a layer from the start": ("dead-units", (), Sick(kill_units)),
    "dead-units: most of a layer, later": ("dead-units", (), Sick(kill_most_units, at=6)),
    "saturated-outputs: one class always": ("saturated-outputs", (), Sick(saturate, at=4)),
    "saturated-outputs: rate of 100": ("saturated-outputs", ("optimiser.lr=100.0",), None),
    "vanishing-gradient: below a layer": ("vanishing-gradient", (), Sick(scale_gradients(1e-9, layers_from_start=6))),
    "vanishing-gradient: a norm that lets nothing pass": ("vanishing-gradient", (), Sick(shrink_norm, at=4)),
    "loss-not-decreasing: rate far too low": ("loss-not-decreasing", ("optimiser.lr=1e-9", "epochs=32"), None),
}


@pytest.mark.parametrize("case", SICK)
def test_a_rule_fires_on_its_sickness_and_no_other_does(case: str, drawn: Manifest, tmp_path: Path) -> None:
    rule, changes, sick = SICK[case]
    said: list[str] = []
    done = [replace(sick, done=False)] if sick else []
    health = watched(drawn, tmp_path / "run", "epochs=5", "patience=50", *changes, sick=done, said=said)
    alarm = only(health)
    assert alarm.rule == rule
    assert said == [f"{rule} ({alarm.when}): {alarm.saw}. To do: {alarm.todo}."]


class TestLabels:
    def test_one_count_nearly_everywhere(self, drawn: Manifest, tmp_path: Path) -> None:
        first = pl.int_range(pl.len()).over("split") < 2
        alarm = only(watched(relabelled(drawn, pl.when(first).then(pl.col("count")).otherwise(2)), tmp_path / "run"))
        assert alarm.rule == "class-imbalance"
        assert "have 2 items" in alarm.saw
        assert alarm.when == "before the first step"

    @pytest.mark.parametrize("split", [Split.VAL, Split.CALIBRATION])
    def test_a_split_with_other_counts(self, split: Split, easy: Manifest, tmp_path: Path) -> None:
        many = pl.when(pl.col("split") == split.value).then(4).otherwise(pl.col("count"))
        alarm = only(watched(relabelled(easy, many), tmp_path / "run"))
        assert alarm.rule == "splits-differ"
        assert f"0% of the 30 photos in {split.value} have up to 3 items" in alarm.saw

    def test_labels_that_belong_to_no_photo(self, drawn: Manifest, tmp_path: Path) -> None:
        """Drawn anew for each batch, they cannot be learned by heart either."""

        def mix(_: lightning.Trainer, module: CountModule) -> None:
            step = module.training_step
            generator = torch.Generator().manual_seed(0)

            def mixed(batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
                return step((batch[0], batch[1][torch.randperm(len(batch[1]), generator=generator)]), batch_idx)

            module.training_step = mixed  # type: ignore[method-assign]

        changes = ("epochs=40", "patience=50")
        stop_on = ["loss-not-decreasing"]
        alarm = only(watched(drawn, tmp_path / "run", *changes, sick=[Sick(mix)], stop_on=stop_on))
        assert alarm.rule == "loss-not-decreasing"
        assert "no better than guessing by frequency alone" in alarm.saw
        assert "bintally audit" in alarm.todo

    def test_a_loss_that_rises_again(self, easy: Manifest, tmp_path: Path) -> None:
        """From step 60 on steps lead uphill, gently."""

        def turn(trainer: lightning.Trainer, _: CountModule) -> None:
            for group in trainer.optimizers[0].param_groups:
                group["maximize"] = True

        changes = ("epochs=60", "patience=90", "optimiser.lr=0.0003", "optimiser.schedule='constant'")
        stop_on = ["loss-not-decreasing"]
        alarm = only(watched(easy, tmp_path / "run", *changes, sick=[Sick(turn, at=60)], stop_on=stop_on))
        assert alarm.rule == "loss-not-decreasing"
        assert "has risen from" in alarm.saw


class TestLearning:
    def test_few_photos_learned_by_heart(self, drawn: Manifest, tmp_path: Path) -> None:
        train = drawn.usable(Split.TRAIN)["photo_id"].to_list()
        frame = drawn.frame.filter(~pl.col("photo_id").is_in(train[40:]))
        few = replace(drawn, frame=frame)
        alarm = only(watched(few, tmp_path / "run", "epochs=70", "patience=99", stop_on=["overfit"]))
        assert alarm.rule == "overfit"
        assert "--set augment.shrink=0.2" in alarm.todo

    def test_an_easy_task_trained_on_and_on(self, easy: Manifest, tmp_path: Path) -> None:
        alarm = only(watched(easy, tmp_path / "run", "epochs=40", "patience=99", stop_on=["overtraining"]))
        assert alarm.rule == "overtraining"
        assert "--set epochs=" in alarm.todo


class TestLoader:
    def test_a_loader_that_lets_the_step_wait(
        self, drawn: Manifest, tmp_path: Path, photos_that: Callable[..., None]
    ) -> None:
        def slowly(_dataset: PhotoDataset, _index: int, photo: Tensor) -> Tensor:
            time.sleep(0.01)
            return photo

        photos_that(slowly)
        alarm = only(watched(drawn, tmp_path / "run", "epochs=7", "patience=50"))
        assert alarm.rule == "starved-step"
        assert alarm.epoch > 1, "in the first epoch photos are decoded, once"
        assert "--set workers=" in alarm.todo

    def test_photos_that_do_not_fit_are_judged_from_the_first_epoch_on(
        self, drawn: Manifest, tmp_path: Path, photos_that: Callable[..., None]
    ) -> None:
        def slowly(_dataset: PhotoDataset, _index: int, photo: Tensor) -> Tensor:
            time.sleep(0.02)
            return photo

        photos_that(slowly)
        health = watched(drawn, tmp_path / "run", "epochs=1", "batch_size=4", "cache_mib=0")
        assert [alarm.rule for alarm in health.alarms] == ["starved-step"]
        assert "cache_mib=" in health.alarms[0].todo


class TestNotFinite:
    @pytest.mark.parametrize("precision", ["fp32", "bf16"])
    def test_a_pixel_is_traced_to_its_photo(
        self, precision: str, drawn: Manifest, tmp_path: Path, photos_that: Callable[..., None]
    ) -> None:
        key = drawn.usable(Split.TRAIN)["photo_key"][8]

        def spoil(dataset: PhotoDataset, index: int, photo: Tensor) -> Tensor:
            photo = photo.float()
            if dataset.paths[index].endswith(key):
                photo[3, 4, 1] = math.nan
            return photo

        photos_that(spoil)
        with pytest.raises(SettingsError, match="infinity"):
            watched(drawn, tmp_path / "run", f"precision='{precision}'")
        alarm = only(read_health(tmp_path / "run" / "health.json"))
        assert alarm.rule == "nan"
        assert "the loss is not finite: pixels are not, in 1 of 16 photos" in alarm.saw
        assert alarm.photos == (key,)
        with np.load(tmp_path / "run" / NAN_BATCH, allow_pickle=False) as kept:
            assert kept["photos"].shape == (16, 32, 32, 3)
            (bad,) = np.flatnonzero(np.isnan(kept["photos"]).any(axis=(1, 2, 3)))
            assert kept["keys"][bad] == key
            counts = dict(drawn.frame.select("photo_key", "count").rows())
            assert kept["classes"].tolist() == [counts[name] for name in kept["keys"]]

    def test_a_photo_of_val_is_named_too(
        self, drawn: Manifest, tmp_path: Path, photos_that: Callable[..., None]
    ) -> None:
        key = drawn.usable(Split.VAL)["photo_key"][3]

        def spoil(dataset: PhotoDataset, index: int, photo: Tensor) -> Tensor:
            return photo.float() * (math.nan if dataset.paths[index].endswith(key) else 1)

        photos_that(spoil)
        with pytest.raises(SettingsError, match="infinity"):
            watched(drawn, tmp_path / "run")
        alarm = only(read_health(tmp_path / "run" / "health.json"))
        assert alarm.saw.startswith("the validation loss is not finite: pixels are not, in 1 of ")
        assert alarm.photos == (key,)

    @pytest.mark.parametrize("precision", ["fp32", "bf16"])
    @pytest.mark.parametrize("what", ["gradient", "weight", "layer"])
    def test_where_it_began_is_said(self, what: str, precision: str, drawn: Manifest, tmp_path: Path) -> None:
        def spoil(_: lightning.Trainer, module: CountModule) -> None:
            norm = layers(module.network.backbone, nn.BatchNorm2d)[4]
            if what == "gradient":
                norm.weight.register_hook(lambda gradient: gradient * math.inf)  # type: ignore[union-attr]
            elif what == "weight":
                module.network.head.weight[0, 0] = math.nan
            else:
                norm.weight.fill_(3e38)  # type: ignore[operator,union-attr]

        with pytest.raises(SettingsError, match="infinity"):
            watched(drawn, tmp_path / "run", f"precision='{precision}'", sick=[Sick(spoil, at=3)])
        alarm = only(read_health(tmp_path / "run" / "health.json"))
        assert alarm.rule == "nan"
        assert alarm.step == 3
        assert len(alarm.photos) == 16
        expected = {
            "gradient": "a gradient is not finite: gradients are not, from backbone.layers.14.weight backwards",
            "weight": "the loss is not finite: weights are not any more, first head.weight",
            "layer": "the loss is not finite: it begins in what backbone.layers.14 puts out",
        }
        assert expected[what] in alarm.saw
        assert (tmp_path / "run" / NAN_BATCH).exists()

    def test_a_rate_without_bounds_is_not_missed(self, drawn: Manifest, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match="infinity"):
            watched(drawn, tmp_path / "run", "optimiser.lr=1e30")
        assert only(read_health(tmp_path / "run" / "health.json")).rule == "nan"


# Healthy runs


class TestHealthy:
    @pytest.mark.parametrize("recipe", recipe_names())
    def test_every_recipe_raises_none(self, recipe: str, drawn: Manifest, tmp_path: Path) -> None:
        options: dict[str, object] = {}
        if (settings := tiny_settings(recipe=recipe)).model.pretrained:
            torch.manual_seed(0)
            state = timm.create_model(settings.model.backbone, pretrained=False).state_dict()
            save_file(state, tmp_path / "weights.safetensors")
            options["weights"] = tmp_path / "weights.safetensors"
        health = watched(drawn, tmp_path / "run", recipe=recipe, every=1, max_steps=7, **options)
        assert health.alarms == ()
        assert health.steps == 7
        assert health.epochs == 2
        assert set(health.rules) == set(RuleName)

    @pytest.mark.parametrize(
        "changes",
        [
            ("epochs=12", "patience=12"),
            ("data.counts=[1, 2]", "batch_size=8"),
            ("data.last_count=3", "optimiser.schedule='constant'"),
            ("label_softness=0.8", "optimiser.ema_decay=0.9", "epochs=6"),
            ("optimiser.name='sgd'", "optimiser.lr=0.05", "model.dropout=0.5"),
            ("precision='bf16'", "epochs=4"),
            ("batch_size=64", "epochs=30"),
        ],
        ids=" ".join,
    )
    def test_nor_do_other_settings_on_few_photos(
        self, changes: tuple[str, ...], drawn: Manifest, tmp_path: Path
    ) -> None:
        assert watched(drawn, tmp_path / "run", *changes, every=1).alarms == ()

    def test_an_easy_task_learned_raises_none(self, easy: Manifest, tmp_path: Path) -> None:
        assert watched(easy, tmp_path / "run", "epochs=12").alarms == ()

    def test_nothing_that_is_learned_changes(self, drawn: Manifest, tmp_path: Path) -> None:
        changes = ("model.dropout=0.5", "optimiser.ema_decay=0.7", "epochs=2")
        watched(drawn, tmp_path / "watched", *changes, every=1)
        fit_tiny(drawn, tmp_path / "alone", *changes)
        one, other = (load_checkpoint(tmp_path / name).network.state_dict() for name in ("watched", "alone"))
        assert all(torch.equal(one[name], other[name]) for name in one)

    def test_nothing_is_left_behind_on_network_or_trainer(self, drawn: Manifest, tmp_path: Path) -> None:
        kept: dict[str, object] = {}

        class Keep(Callback):
            def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
                kept.update(trainer=trainer, module=pl_module, profiler=trainer.profiler)  # type: ignore[attr-defined]

        watched(drawn, tmp_path / "run", sick=[Keep()])
        assert kept["trainer"].profiler is kept["profiler"]  # type: ignore[attr-defined]
        assert not any(layer._forward_hooks for layer in kept["module"].modules())  # type: ignore[attr-defined]


# What is done about an alarm


class TestStopping:
    def test_the_run_ends_there_and_keeps_what_it_has(self, drawn: Manifest, tmp_path: Path) -> None:
        said: list[str] = []
        health = watched(
            drawn, tmp_path / "run", "epochs=5", sick=[Sick(kill_units)], stop_on=["nan", "dead-units"], said=said
        )
        assert health.stopped_by == "dead-units"
        assert health.steps == 5
        assert said[0].endswith("Stopping, as --stop-on asks for dead-units.")
        assert load_checkpoint(tmp_path / "run").facts.epochs_run == 1

    def test_which_rule_stopped_it_is_in_the_saved_state(self, tmp_path: Path) -> None:
        """As plain text: a state is read without pickle's code."""
        alarms, again = (Alarms(tmp_path, say=str, stop_on=frozenset({RuleName.OVERFIT})) for _ in range(2))
        alarms.ring(RuleName.OVERFIT, Saw(text="x", todo="y"))
        state = alarms.state()
        assert type(state["stopped_by"]) is str
        again.restore(state)
        assert again.health == alarms.health
        assert again.stopped_by is RuleName.OVERFIT

    def test_other_alarms_do_not_end_it(self, drawn: Manifest, tmp_path: Path) -> None:
        health = watched(drawn, tmp_path / "run", "epochs=3", sick=[Sick(kill_units)], stop_on=["overfit"])
        assert (only(health).rule, health.stopped_by, health.steps) == ("dead-units", None, 15)

    @pytest.mark.parametrize(
        ("rule", "error"), [("class-imbalance", ManifestError), ("poor-initialisation", WeightsError)]
    )
    def test_before_the_first_step_nothing_is_made(
        self, rule: str, error: type[Exception], drawn: Manifest, tmp_path: Path
    ) -> None:
        alike = rule == "class-imbalance"
        manifest = relabelled(drawn, pl.when(pl.int_range(pl.len()) < 3).then(1).otherwise(2)) if alike else drawn
        sick = [] if alike else [Sick(scale_weights(1e-4))]
        with pytest.raises(error, match=f"stopped before the first step by --stop-on {rule}"):
            watched(manifest, tmp_path / "run", stop_on=list(RuleName), sick=sick)
        assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["health.json", "settings.toml"]
        assert read_health(tmp_path / "run" / "health.json").stopped_by == rule

    def test_a_number_that_is_not_finite_ends_it_at_once(self, drawn: Manifest, tmp_path: Path) -> None:
        def spoil(_: lightning.Trainer, module: CountModule) -> None:
            module.network.head.weight[0, 0] = math.nan

        with pytest.raises(SettingsError, match="infinity"):
            watched(drawn, tmp_path / "run", sick=[Sick(spoil, at=2)], stop_on=["nan"])
        health = read_health(tmp_path / "run" / "health.json")
        assert (health.stopped_by, health.steps) == ("nan", 3)


class Break(Callback):
    """Ends the process, as it were, before step `at`."""

    def __init__(self, at: int) -> None:
        self._at = at

    def on_train_batch_start(self, trainer: lightning.Trainer, *_: object) -> None:
        if trainer.global_step == self._at:
            raise KeyboardInterrupt


class TestGoingOn:
    def watch(self, manifest: Manifest, run: Path, *others: Callback) -> tuple[HealthWatch, list[str]]:
        """Dead units from the start, seen in a run of 15 steps."""
        said: list[str] = []
        settings = tiny_settings("epochs=3")
        watch = HealthWatch(run, manifest, settings, say=said.append, every=2)
        fit(manifest, settings, run, callbacks=(*others, watch), progress=False, checkpoint_every=1)
        return watch, said

    @pytest.mark.parametrize("at", [3, 5, 8])
    def test_a_run_that_goes_on_is_watched_as_if_never_broken_off(
        self, at: int, drawn: Manifest, tmp_path: Path
    ) -> None:
        whole, said = self.watch(drawn, tmp_path / "whole", Sick(kill_most_units))
        with pytest.raises(KeyboardInterrupt):
            self.watch(drawn, tmp_path / "broken", Sick(kill_most_units), Break(at))
        rest, _ = self.watch(drawn, tmp_path / "broken")
        assert [(alarm.rule, alarm.saw) for alarm in rest.health.alarms] == [
            (alarm.rule, alarm.saw) for alarm in whole.health.alarms
        ]
        assert len(said) == 1
        for name in ("windows", "losses", "epochs", "norms", "first_norm", "step"):
            assert rest.state_dict()["seen"][name] == whole.state_dict()["seen"][name], name
        assert read_health(tmp_path / "broken" / "health.json").steps == 15
