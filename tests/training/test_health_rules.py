"""The rules' thresholds, each from both sides, on what a run might show; and how one rule explains another."""

import math
from collections.abc import Callable

import pytest

from bintally.evaluation.health import RuleName
from bintally.settings import RunSettings, parse_settings
from bintally.training.health.labels import chance_of
from bintally.training.health.rules import RULES, judge
from bintally.training.health.seen import RECENT, TIMED, WINDOW, EpochLosses, Look, Seen, SplitLabels, Start

SETTINGS = RunSettings()
PRIOR = math.log(4)
Change = Callable[[Seen], None]


def healthy(*, steps: int = 300) -> Seen:
    """A run of four classes in its 30th epoch of ten steps each, with nothing to complain of."""
    labels = SplitLabels(photos=[100, 100, 100, 100], groups=200)
    start = Start(
        lowest_count=1,
        open_ended=False,
        labels={"train": labels, "val": labels, "calibration": labels},
        prior_loss=PRIOR,
        hard_prior_loss=PRIOR,
        steps_per_epoch=10,
        warmup_steps=0,
        gains={"stem": 1.0, "head": 1.0},
    )
    seen = Seen(start=start, step=steps, first_norm=5.0, norms=[5.0] * RECENT)
    seen.windows = [1.3, 1.2, 1.1, 1.0, 0.9, 0.8][: steps // WINDOW]
    for step in (0, 20, 40):
        seen.add_look(look(step=step))
    seen.epochs = [EpochLosses(train=1.3 - 0.1 * at, val=1.35 - 0.1 * at, val_error=0.02) for at in range(6)]
    for _ in range(TIMED):
        seen.times.add(0.01, 0.2)
    return seen


def look(**changes: object) -> Look:
    values: dict[str, object] = {
        "step": 0,
        "loss": 1.4,
        "error": 0.5,
        "one_hot": 0.0,
        "gradients": {"stem": 1e-3, "head": 1e-2},
        "dead": {"act": 0.0},
        "capped": {"act": 0.0},
        "spreads": {"act": 0.6, "other": 0.5},
    }
    return Look.model_validate({**values, **changes})


def looks(**changes: object) -> Change:
    def change(seen: Seen) -> None:
        seen.looks = [look(step=20 * at, **changes) for at in range(3)]

    return change


def first_look(**changes: object) -> Change:
    def change(seen: Seen) -> None:
        seen.first_look = look(**changes)

    return change


def start(**changes: object) -> Change:
    def change(seen: Seen) -> None:
        assert seen.start is not None
        seen.start = seen.start.model_copy(update=changes)

    return change


def labels(train: list[int], val: list[int] | None = None, groups: int = 200) -> Change:
    def change(seen: Seen) -> None:
        assert seen.start is not None
        splits = {"train": train, "val": val or train, "calibration": train}
        seen.start.labels = {name: SplitLabels(photos=each, groups=groups) for name, each in splits.items()}

    return change


def norms(*values: float, first: float = 5.0) -> Change:
    def change(seen: Seen) -> None:
        seen.norms, seen.first_norm = list(values), first

    return change


def windows(*values: float, steps_per_epoch: int = 10, warmup_steps: int = 0) -> Change:
    def change(seen: Seen) -> None:
        seen.windows = list(values)
        start(steps_per_epoch=steps_per_epoch, warmup_steps=warmup_steps)(seen)

    return change


def epochs(train: list[float], val: list[float], *, error: float = 0.02, step: int = 300) -> Change:
    def change(seen: Seen) -> None:
        pairs = zip(train, val, strict=True)
        seen.epochs = [EpochLosses(train=one, val=other, val_error=error) for one, other in pairs]
        seen.step = step

    return change


def times(waited: float, worked: float, steps: int = TIMED) -> Change:
    def change(seen: Seen) -> None:
        seen.times.waited, seen.times.worked = [waited] * steps, [worked] * steps

    return change


def together(*changes: Change) -> Change:
    def change(seen: Seen) -> None:
        for each in changes:
            each(seen)

    return change


FLAT, FALLING = [1.0, 0.5] + [0.4] * 6, [1.0, 0.8, 0.6, 0.5, 0.4, 0.3]
LOWER = [1.0, 0.8, 0.6, 0.35, 0.34, 0.33]
CASES: dict[str, tuple[str | None, Change]] = {
    "nothing": (None, together()),
    # gradients
    "a layer just above 1e-7 of the error": (None, looks(gradients={"stem": 5.1e-8, "head": 1e-2})),
    "a layer just below 1e-7 of the error": ("vanishing-gradient", looks(gradients={"stem": 4.9e-8, "head": 1e-2})),
    "small gradients for want of an error": (None, looks(error=1e-3, gradients={"stem": 1e-9, "head": 1e-8})),
    "99 times the first norm": (None, norms(*[495.0] * RECENT)),
    "100 times the first norm": ("exploding-gradient", norms(*[500.0] * RECENT)),
    "100 times a first norm below 1": (None, norms(*[99.0] * RECENT, first=0.1)),
    "a first norm below 1 counts as 1": ("exploding-gradient", norms(*[101.0] * RECENT, first=0.1)),
    "100 times for two steps of five": (None, norms(500.0, 500.0, 5.0, 5.0, 5.0)),
    # units
    "half of a layer dead": (None, looks(dead={"act": 0.5})),
    "more than half of a layer dead": ("dead-units", looks(dead={"act": 0.51, "other": 0.0})),
    "more than half of a layer capped": ("saturated-outputs", looks(capped={"act": 0.51})),
    "half of a layer capped": (None, looks(capped={"act": 0.5})),
    "half of the answers certain": (None, looks(one_hot=0.5)),
    "more than half of the answers certain": ("saturated-outputs", looks(one_hot=0.51)),
    "certain and right": (None, looks(one_hot=1.0, error=0.1)),
    "certain and not quite right": ("saturated-outputs", looks(one_hot=1.0, error=0.105)),
    # initialisation
    "a gain of 0.001": (None, start(gains={"stem": 1e-3})),
    "a gain below 0.001": ("poor-initialisation", start(gains={"stem": 0.9e-3, "head": 1.0})),
    "a gain of 1000": (None, start(gains={"stem": 1e3})),
    "a gain above 1000": ("poor-initialisation", start(gains={"stem": 1.1e3})),
    "units alike": ("poor-initialisation", start(alike=["stem"])),
    "a first loss of three times knowing nothing": (None, first_look(loss=2.99 * PRIOR)),
    "a first loss above that": ("poor-initialisation", first_look(loss=3.01 * PRIOR)),
    "such a loss later": (None, first_look(loss=9.0, step=20)),
    "spreads a thousand apart": (None, first_look(spreads={"a": 1e-3, "b": 1.0})),
    "spreads farther apart": ("poor-initialisation", first_look(spreads={"a": 0.95e-3, "b": 1.0})),
    "a layer without spread": (None, first_look(spreads={"a": 0.0, "b": 1.0})),
    # losses
    "as good as guessing": ("loss-not-decreasing", windows(1.5, PRIOR, PRIOR)),
    "as good as guessing, too early to say": (None, windows(1.5)),
    "as good as guessing, not two epochs yet": (None, windows(1.5, PRIOR, PRIOR, steps_per_epoch=76)),
    "as good as guessing after two epochs": ("loss-not-decreasing", windows(1.5, PRIOR, PRIOR, steps_per_epoch=75)),
    "as good as guessing in a long epoch": ("loss-not-decreasing", windows(*[PRIOR] * 20, steps_per_epoch=9999)),
    "as good as guessing, warming up": (None, windows(1.5, PRIOR, PRIOR, warmup_steps=51)),
    "0.1 % better than guessing": (None, windows(1.5, 0.99895 * PRIOR, 0.99895 * PRIOR)),
    "hardly better than guessing": ("loss-not-decreasing", windows(1.5, 0.99905 * PRIOR, 0.99905 * PRIOR)),
    "risen by less than 5 % of guessing": (None, windows(0.5, 0.5, 0.5 + 0.049 * PRIOR, 0.5 + 0.049 * PRIOR)),
    "risen by more": ("loss-not-decreasing", windows(0.5, 0.5, 0.5 + 0.051 * PRIOR, 0.5 + 0.051 * PRIOR)),
    "risen for one window": (None, windows(0.5, 0.5, 0.5, 0.5 + 0.09 * PRIOR)),
    "healthy mobilenetv2 on real photos": (
        None,
        epochs(
            [2.35, 2.13, 2.06, 1.99, 1.92, 1.82, 1.70, 1.59, 1.53][3:],
            [2.56, 2.29, 2.14, 2.09, 2.06, 2.02, 2.001, 2.008, 2.016][3:],
        ),
    ),
    "turned, and far above training": ("overfit", epochs(FALLING, [1.1, 0.9, 0.8, 0.85, 0.86, 0.86])),
    "turned for one epoch": (None, epochs(FALLING, [1.1, 0.9, 0.85, 0.84, 0.8, 0.86])),
    "turned, but not by 3 %": (None, epochs(LOWER, [1.1, 0.9, 0.55, 0.566, 0.566, 0.566], error=0.001)),
    "turned by more than 3 %": ("overfit", epochs(LOWER, [1.1, 0.9, 0.55, 0.567, 0.567, 0.567], error=0.001)),
    "above training by less than half": (None, epochs([1, 0.8, 0.6, 0.5, 0.49, 0.48], [1, 0.8, 0.6, 0.7, 0.7, 0.7])),
    "by more than half": ("overfit", epochs([1, 0.8, 0.6, 0.5, 0.49, 0.48], [1, 0.8, 0.6, 0.7, 0.74, 0.74])),
    "turned, but within the standard error": (None, epochs(FALLING, [1.1, 0.9, 0.6, 0.63, 0.64, 0.64], error=0.2)),
    "turned, but hardly above training": (None, epochs([1.0, 0.9, 0.8, 0.79, 0.78, 0.77], [1.1, 1, 0.8, 1, 1, 1])),
    "turned, training too": (None, epochs([1.0, 0.5, 0.4, 0.5, 0.5, 0.5], [1.1, 0.9, 0.8, 0.9, 0.9, 0.9])),
    "turned before batch norms settle": (None, epochs(FALLING, [1.1, 0.9, 0.8, 0.85, 0.86, 0.86], step=99)),
    "turned, nothing learned": (None, epochs([v + 1.2 for v in FALLING], [2.2, 1.9, 1.8, 2.9, 3.9, 3.9])),
    "twice training, no longer falling": ("overfit", epochs(FALLING, [1.1, 1.0, 0.9, 0.895, 0.901, 0.901])),
    "twice training, by three standard errors at most": (
        None,
        epochs(FALLING, [1.1, 1.0, 0.9, 0.895, 0.901, 0.901], error=0.21),
    ),
    "neither falls for five epochs": ("overtraining", epochs(FLAT, FLAT)),
    "neither falls for four epochs": (None, epochs(FLAT[:-1], FLAT[:-1])),
    "training falls on": (None, epochs([1.0, 0.5, 0.4, 0.38, 0.36, 0.34, 0.32, 0.3], FLAT)),
    "validation falls on": (None, epochs(FLAT, [1.0, 0.5, 0.46, 0.45, 0.44, 0.43, 0.42, 0.405])),
    "neither falls, nothing learned": (None, epochs([v + 1 for v in FLAT], [v + 1 for v in FLAT])),
    "neither falls, training rises": (None, epochs([*FLAT, 0.5], [*FLAT, 0.4])),
    # labels
    "91 % of two classes": (None, labels([90, 10])),
    "92 % of two classes": ("class-imbalance", labels([92, 8])),
    "a long tail": (None, labels([102, 607, 1238, 1516, 1331, 956, 640, 523, 365, 263, 177, 140, 105, 77, 57, 34, 23])),
    "14 % have another count": (None, labels([100, 100], [64, 36], groups=9999)),
    "16 % have another count": ("splits-differ", labels([100, 100], [66, 34], groups=9999)),
    "40 % have another count, by chance": (None, labels([10, 10], [18, 2], groups=10)),
    # loader
    "20 % of waiting": (None, times(0.05, 0.2)),
    "21 % of waiting": ("starved-step", times(0.054, 0.2)),
    "21 % of waiting, for a moment": (None, times(0.009, 0.03)),
    "waiting for 19 steps": (None, times(1.0, 1.0, steps=19)),
}


@pytest.mark.parametrize("case", CASES)
def test_a_rule_fires_on_one_side_of_its_threshold_only(case: str) -> None:
    rule, change = CASES[case]
    seen = healthy()
    change(seen)
    found = list(judge(seen, SETTINGS, []))
    assert [each.name.value for each, _ in found] == ([rule] if rule else [])
    for _, saw in found:
        assert saw.text
        assert saw.todo


@pytest.mark.parametrize("rule", [rule.name.value for rule in RULES])
def test_every_rule_has_a_case_on_both_sides(rule: str) -> None:
    assert any(fires == rule for fires, _ in CASES.values())


class TestPrecedence:
    def both(self) -> Seen:
        """Exploding gradients, dead units, saturated outputs and a loss that has risen."""
        seen = healthy()
        for change in (
            norms(*[5e6] * RECENT),
            looks(dead={"act": 1.0}, one_hot=1.0, gradients={"stem": 0.0}),
            windows(1.0, 1.0, 9.0, 9.0),
        ):
            change(seen)
        return seen

    def test_the_first_explains_the_others(self) -> None:
        assert [rule.name for rule, _ in judge(self.both(), SETTINGS, [])] == [RuleName.EXPLODING_GRADIENT]

    @pytest.mark.parametrize("raised", ["poor-initialisation", "exploding-gradient", "dead-units", "saturated-outputs"])
    def test_also_when_it_was_raised_before(self, raised: str) -> None:
        assert list(judge(self.both(), SETTINGS, [RuleName(raised)])) == []

    def test_what_has_nothing_to_do_with_it_is_still_said(self) -> None:
        seen = self.both()
        labels([99, 1])(seen)
        times(1.0, 1.0)(seen)
        names = [rule.name.value for rule, _ in judge(seen, SETTINGS, [])]
        assert names == ["class-imbalance", "exploding-gradient", "starved-step"]

    def test_a_number_that_is_not_finite_explains_all_of_the_network(self) -> None:
        seen = self.both()
        seen.spoilt = True
        times(1.0, 1.0)(seen)
        assert [rule.name.value for rule, _ in judge(seen, SETTINGS, [RuleName.NAN])] == ["starved-step"]

    def test_nothing_is_said_of_what_was_not_seen(self) -> None:
        assert list(judge(Seen(), SETTINGS, [])) == []


@pytest.mark.parametrize(
    ("changes", "change", "todo"),
    [
        ([], norms(*[5e6] * RECENT), "--set optimiser.lr=0.0001 --set optimiser.warmup_share=0.1"),
        (["optimiser.warmup_share=0.05"], norms(*[5e6] * RECENT), "--set optimiser.lr=0.0001"),
        (["optimiser.lr=100.0"], looks(dead={"act": 1.0}), "--set optimiser.lr=0.01 --set optimiser.warmup_share=0.1"),
        (["label_softness=0.8"], looks(one_hot=1.0), "--set optimiser.lr=0.0001"),
        ([], windows(1.5, 1.5, 1.5), "raise the rate: --set optimiser.lr=0.01"),
        ([], windows(1.9, PRIOR, PRIOR), "see that the labels belong to the photos (bintally audit DATA)"),
        (["precision='bf16'"], looks(gradients={"stem": 0.0}), "--set precision=fp32"),
        (["model.pretrained=false"], looks(gradients={"stem": 0.0}), "--set model.pretrained=true"),
        (["precision='fp32'"], looks(gradients={"stem": 0.0}), "--set model.backbone=resnet50"),
        (["model.pretrained=false"], start(alike=["stem"]), "--set model.pretrained=true"),
        ([], start(alike=["stem"]), "--weights FILE"),
        (["workers=3"], times(1.0, 1.0), "--set workers=6"),
    ],
)
def test_what_to_do_fits_the_settings(changes: list[str], change: Change, todo: str) -> None:
    seen = healthy()
    change(seen)
    settings = parse_settings("", name="test", overrides=changes)
    ((_, saw),) = judge(seen, settings, [])
    assert todo in saw.todo


def test_overfit_names_what_is_not_used_yet() -> None:
    def todo(*changes: str) -> str:
        seen = healthy()
        epochs(FALLING, [1.1, 0.9, 0.8, 0.85, 0.86, 0.86])(seen)
        ((_, saw),) = judge(seen, parse_settings("", name="test", overrides=changes), [])
        return saw.todo

    shrink = ["augment.shrink=0.1", "label_softness=0.5", "model.dropout=0.1"]
    assert "--set optimiser.weight_decay=0.05" in todo(*shrink)
    assert "shrink" not in todo(*shrink)
    assert "--set model.frozen=true" in todo(*shrink, "optimiser.weight_decay=0.1")


def test_a_loader_that_decodes_each_time_is_told_how_much_memory_would_do() -> None:
    seen = healthy()
    start(photos_fit=False)(seen)
    times(1.0, 1.0)(seen)
    ((_, saw),) = judge(seen, parse_settings("", name="test", overrides=["data.side_px=512"]), [])
    assert "--set cache_mib=300" in saw.todo  # 400 photos of 512 x 512 x 3 bytes


def test_what_grows_with_the_run_is_little() -> None:
    seen = Seen()
    for _ in range(10 * WINDOW):
        seen.add_loss(1.0)
        seen.add_norm(1.0)
        seen.times.add(1.0, 1.0)
    for step in range(9):
        seen.add_look(look(step=step))
    assert (len(seen.windows), len(seen.losses), len(seen.norms)) == (10, 0, RECENT)
    assert [each.step for each in seen.looks] == [6, 7, 8]
    assert seen.first_look is not None
    assert seen.first_look.step == 0
    assert len(seen.times.waited) == len(seen.times.worked) == TIMED
    assert Seen.model_validate(seen.model_dump()) == seen


def test_chance_is_that_of_the_textbooks() -> None:
    """Critical distances at 5 % and 0.1 %: 1.358 and 1.949 over the root of the sizes' half harmonic mean."""
    sizes = 4000, 4000
    root = math.sqrt(2000)
    assert chance_of(1.358 / root, *sizes) == pytest.approx(0.05, rel=0.05)
    assert chance_of(1.949 / root, *sizes) == pytest.approx(0.001, rel=0.05)
    assert chance_of(0.0, 3, 3) == 1.0
    assert chance_of(1.0, 3, 3) > 0.001, "three groups tell nothing"
