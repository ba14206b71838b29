"""The parts of a profile by hand: a timeline of known times, advice of known figures."""

from array import array
from collections.abc import Iterator

import pytest

from bintally.training.profile.account import reckon
from bintally.training.profile.advice import advise
from bintally.training.profile.phases import Phase, phase_of
from bintally.training.profile.result import Machine, Profile, Sample, Step, Trial, Work, said
from bintally.training.profile.timeline import Kind, Record, Timeline, seconds_by_phase
from bintally.training.profile.trials import Tried


class Ticking:
    """A clock that is told what time it is."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Ticking:
    return Ticking()


def test_a_phase_within_another_is_taken_out_of_it(clock: Ticking) -> None:
    timeline = Timeline(clock)
    timeline.rest(Phase.IDLE)
    timeline.open(Kind.STEP, epoch=1)
    clock.now = 1
    timeline.enter(Phase.OPTIMISER)  # Lightning's optimiser step calls all the rest
    clock.now = 2
    timeline.enter(None)
    clock.now = 4
    timeline.enter(Phase.FORWARD)
    clock.now = 9
    timeline.leave()
    timeline.leave()
    clock.now = 10
    timeline.leave()
    clock.now = 12
    timeline.end()
    clock.now = 99
    timeline.end()
    step = timeline.records[-1]
    assert (step.of(Phase.OPTIMISER), step.of(Phase.FORWARD), step.of(Phase.IDLE)) == (4, 5, 3)
    assert step.total == 12


def test_what_validation_does_is_validation_but_for_saving_and_watching(clock: Ticking) -> None:
    timeline = Timeline(clock)
    timeline.enter(None)  # an action that begins before and ends after
    timeline.rest(Phase.IDLE)
    timeline.enter(Phase.TRACING)
    timeline.rest(Phase.VALIDATION)
    timeline.leave()
    clock.now = 1
    for phase, seconds in ((Phase.FORWARD, 2), (Phase.CHECKPOINT, 3), (Phase.WATCHING, 4)):
        timeline.enter(phase)
        clock.now += seconds
        timeline.leave()
    timeline.rest(Phase.IDLE)
    clock.now += 5
    timeline.leave()
    clock.now += 6
    timeline.end()
    found = {phase: seconds for phase, seconds in seconds_by_phase(timeline.records).items() if seconds}
    assert found == {Phase.VALIDATION: 3, Phase.CHECKPOINT: 3, Phase.WATCHING: 4, Phase.IDLE: 11}


def test_leaving_what_began_before_the_clock_did_changes_nothing(clock: Ticking) -> None:
    timeline = Timeline(clock)
    timeline.leave()
    clock.now = 3
    timeline.end()
    assert timeline.records[0].of(Phase.START) == 3


@pytest.mark.parametrize(
    ("action", "phase"),
    [
        ("[_TrainingEpochLoop].train_dataloader_next", Phase.WAIT),
        ("[Strategy]DDPStrategy.batch_to_device", Phase.COPY),
        ("[Strategy]SingleDeviceStrategy.training_step", Phase.FORWARD),
        ("[LightningModule]CountModule.optimizer_step", Phase.OPTIMISER),
        ("[LightningModule]CountModule.lr_scheduler_step", Phase.OPTIMISER),
        ("[Callback]MovingAverage.on_train_batch_end", Phase.AVERAGING),
        ("[Callback]HealthWatch.on_before_backward", Phase.WATCHING),
        ("[Callback]EarlyStopping{'monitor': 'val_loss', 'mode': 'min'}.on_train_epoch_end", Phase.CALLBACKS),
        ("run_training_batch", None),
        ("[LightningModule]CountModule.on_train_batch_start", None),
    ],
)
def test_actions_belong_to_phases(action: str, phase: Phase | None) -> None:
    assert phase_of(action) is phase


def record(kind: Kind = Kind.STEP, epoch: int = 1, **seconds: float) -> Record:
    return Record(kind=kind, epoch=epoch, seconds=array("d", [seconds.get(phase.value, 0.0) for phase in Phase]))


def work(**changes: object) -> Work:
    facts = {
        "recipe": "r",
        "backbone": "b",
        "photos": 1000,
        "side_px": 64,
        "batch_size": 10,
        "workers": 0,
        "precision": "fp32",
        "cache_mib": 0,
        "keeps_photos": False,
        "prepared": False,
        "epochs": 5,
        "steps_per_epoch": 100,
        "processes": 1,
    }
    return Work.model_validate({**facts, **changes})


def steps() -> Iterator[Record]:
    """Two epochs: 10 ms to read, 30 to decode in the first, 10 to augment, 40 and 50 to compute, 10 idle."""
    for epoch in (1, 2):
        for _ in range(3):
            yield record(epoch=epoch, read=0.01, decode=0.03, augment=0.01, forward=0.04, backward=0.05, idle=0.01)
        yield record(Kind.BETWEEN_EPOCHS, epoch, validation=2.0)


def profile(**changes: object) -> Profile:
    facts = work(**changes)
    return Profile(
        complete=True,
        run="run",
        work=facts,
        machine=Machine(cores=2, threads=1, device="d", torch="t", cores_used=1, cores_of_others=0, free_mib=1000),
        wall_seconds=10,
        traced_seconds=0,
        phases={Phase.FORWARD: 10},
        overhead_share=0,
        plain_steps=1,
        step_ms={"p50": 1},
        photos_per_second=1,
        reckoned=reckon(facts, list(steps())),
        between_epochs=2,
        steps_merged=1,
        steps=(Step(number=1, epoch=1, traced=False, seconds={Phase.FORWARD: 10}),),
        operators=(),
        memory=(Sample(seconds=0, rss_mib=1),),
    )


def tried(**trials: float) -> Tried:
    """Trials by kind and value, `kind_value`, with their ratios."""
    found = Tried()
    for name, ratio in trials.items():
        kind, value = name.split("_")
        place = (kind, int(value) if value.isdecimal() else value)
        found.by_kind[place] = Trial(what=name, own_ms=100, other_ms=100 * ratio, ratio=ratio, rounds=3)
    return found


def test_a_training_is_reckoned_from_its_steps() -> None:
    plain = reckon(work(), list(steps()))
    assert plain is not None
    assert (plain.first, plain.later, plain.total) == pytest.approx((17, 17, 85))
    kept = reckon(work(keeps_photos=True), list(steps()))
    assert kept is not None
    assert (kept.first, kept.later, kept.total) == pytest.approx((17, 13, 69))
    assert Phase.DECODE not in kept.step
    assert reckon(work(), [record(Kind.START, start=1.0)]) is None


@pytest.mark.parametrize(
    ("changes", "trials", "kind", "todo", "first", "later"),
    [
        ({}, {"precision_bf16": 0.5}, "precision", "--set precision=bf16", 4.5, 4.5),
        ({"precision": "bf16"}, {"precision_fp32": 0.8}, "precision", "--set precision=fp32", 1.8, 1.8),
        ({}, {"batch_2": 0.9, "batch_4": 0.7}, "batch", "--set batch_size=40", 2.7 + 0.75, 2.7 + 0.75),
        ({}, {"loader_1": 0.9, "loader_2": 0.6}, "workers", "--set workers=2", 5.6, 5.6),
        ({}, {}, "cache", "--set cache_mib=12", 0, 4),
        ({"workers": 2}, {"loader_kept": 0.5}, "cache", "--set cache_mib=12 --set workers=0", 0, 7),
        ({}, {"prepared_prepared": 0.25}, "prepared", "bintally prepare DATA SMALL --side 64", 3, 3),
        ({"keeps_photos": True, "epochs": 1}, {"prepared_prepared": 0.25}, "prepared", "bintally prepare", 3, 0),
    ],
)
def test_advice_follows_from_figures(
    changes: dict[str, object], trials: dict[str, float], kind: str, todo: str, first: float, later: float
) -> None:
    before = profile(**changes)
    assert before.reckoned is not None
    found = {each.kind: each for each in advise(before, tried(**trials))}[kind]
    assert found.todo.startswith(todo)
    assert (found.saves_first, found.saves_later) == pytest.approx((first, later), rel=1e-6)
    saved = first + (before.work.epochs - 1) * later
    assert found.times == pytest.approx(before.reckoned.total / (before.reckoned.total - saved))
    assert f"{found.times:.2f} times faster" in said(found)


@pytest.mark.parametrize(
    ("changes", "trials"),
    [
        ({"keeps_photos": True}, {"precision_bf16": 0.98, "batch_2": 1.1, "batch_4": 1.1}),
        ({"keeps_photos": True, "epochs": 50}, {"prepared_prepared": 0.5}),
        ({"photos": 10**6}, {"loader_1": 1.2}),  # more than the free memory
    ],
    ids=["small gains", "once in fifty epochs", "no room"],
)
def test_what_saves_less_than_a_twentieth_is_not_advised(changes: dict[str, object], trials: dict[str, float]) -> None:
    assert advise(profile(**changes), tried(**trials)) == ()
    assert profile(**changes).advised == "Nothing to gain"


def test_the_greatest_gain_comes_first() -> None:
    found = advise(profile(), tried(precision_bf16=0.5, prepared_prepared=0.5))
    assert [each.kind for each in found] == ["precision", "cache", "prepared"]


def test_starting_processes_counts_against_them() -> None:
    trials = tried(loader_2=0.6)
    trials.worker_start[2] = 10.0
    (found,) = [each for each in advise(profile(), trials) if each.kind == "workers"]
    assert found.saves_first == pytest.approx(5.6 - 20)
    assert "10 s to start" in found.why
