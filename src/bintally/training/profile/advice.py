"""Advice that follows from figures: what a change would save, from measured phases and the ratios of trials.

Pure: nothing is measured here. Refuses advice on less than `LEAST` of the whole training, and advice without a figure.
"""

from bintally.training.profile.phases import COMPUTING, LOADING, Phase
from bintally.training.profile.result import Advice, Profile, Reckoned
from bintally.training.profile.trials import Tried

LEAST = 0.05
"""Of the time of a whole training: what saves less is not worth a change."""
_ROOM = 0.8  # of the free memory that decoded photos may take
_FIXED = (Phase.IDLE, Phase.CALLBACKS, Phase.WATCHING)  # for each step, however large it is


def advise(profile: Profile, tried: Tried) -> tuple[Advice, ...]:
    """What is worth it, the most first."""
    if profile.reckoned is None:
        return ()
    figures = Figures(profile, profile.reckoned)
    found = [
        _precision(figures, tried),
        _batch(figures, tried),
        _workers(figures, tried),
        _cache(figures, tried),
        _prepared(figures, tried),
    ]
    worth = [each for each in found if each is not None and each.times >= 1 / (1 - LEAST)]
    return tuple(sorted(worth, key=lambda each: -each.times))


class Figures:
    """A profile's figures as advice needs them: seconds of an epoch."""

    def __init__(self, profile: Profile, reckoned: Reckoned) -> None:
        self.profile, self.work, self.reckoned = profile, profile.work, reckoned

    def seconds(self, *phases: Phase) -> float:
        """Of a later epoch's steps."""
        return self.work.steps_per_epoch * sum(self.reckoned.step.get(phase, 0.0) for phase in phases)

    @property
    def decoding_once(self) -> float:
        """Seconds of the first epoch in reading and decoding, where photos are kept."""
        return self.work.steps_per_epoch * self.reckoned.once

    def advice(self, kind: str, *, todo: str, why: str, first: float, later: float) -> Advice | None:
        """With what it saves; None: nothing."""
        saved = first + (self.work.epochs - 1) * later
        if saved <= 0:
            return None
        return Advice.model_validate(
            {
                "kind": kind,
                "todo": todo,
                "why": why,
                "saves_first": first,
                "saves_later": later,
                "epoch_seconds": self.reckoned.later,
                "times": self.reckoned.total / max(0.01 * self.reckoned.total, self.reckoned.total - saved),
            }
        )


def _precision(figures: Figures, tried: Tried) -> Advice | None:
    other = "fp32" if figures.work.precision == "bf16" else "bf16"
    trial = tried.by_kind.get(("precision", other))
    if trial is None:
        return None
    saved = figures.seconds(*COMPUTING) * (1 - trial.ratio)
    why = f"a step takes {trial.other_ms:.0f} ms in {other} and {trial.own_ms:.0f} ms in {figures.work.precision}"
    return figures.advice("precision", todo=f"--set precision={other}", why=why, first=saved, later=saved)


def _batch(figures: Figures, tried: Tried) -> Advice | None:
    found = []
    for (kind, times), trial in tried.by_kind.items():
        if kind != "batch" or not isinstance(times, int):
            continue
        saved = figures.seconds(*COMPUTING) * (1 - trial.ratio) + figures.seconds(*_FIXED) * (1 - 1 / times)
        size = times * figures.work.batch_size
        why = (
            f"for {figures.work.batch_size} photos {trial.other_ms:.0f} ms in batches of {size} and "
            f"{trial.own_ms:.0f} ms as it is; it learns otherwise then, so look at the rate again"
        )
        found.append(figures.advice("batch", todo=f"--set batch_size={size}", why=why, first=saved, later=saved))
    return max((each for each in found if each is not None), key=lambda each: each.times, default=None)


def _workers(figures: Figures, tried: Tried) -> Advice | None:
    found = []
    for (kind, workers), trial in tried.by_kind.items():
        if kind != "loader" or not isinstance(workers, int):
            continue
        saved = figures.seconds(*LOADING, *COMPUTING, Phase.COPY) * (1 - trial.ratio)
        start = tried.worker_start.get(workers, 0.0)
        why = (
            f"a step with its loading takes {trial.other_ms:.0f} ms with {workers} and {trial.own_ms:.0f} ms with "
            f"{figures.work.workers}, on {figures.profile.machine.cores} cores"
        )
        if start:
            why += f"; they take {start:.0f} s to start, once for training and once for validation"
        todo = f"--set workers={workers}"
        found.append(figures.advice("workers", todo=todo, why=why, first=saved - 2 * start, later=saved))
    return max((each for each in found if each is not None), key=lambda each: each.times, default=None)


def _cache(figures: Figures, tried: Tried) -> Advice | None:
    work = figures.work
    if work.keeps_photos:
        return None
    need = -(-work.photos * work.side_px**2 * 3 // 2**20)
    room = figures.profile.machine.free_mib
    if need > _ROOM * room:
        return None
    if work.workers:
        trial = tried.by_kind.get(("loader", "kept"))
        if trial is None:
            return None
        saved = figures.seconds(*LOADING, *COMPUTING, Phase.COPY) * (1 - trial.ratio)
        todo = f"--set cache_mib={need} --set workers=0"
        why = (
            f"a step takes {trial.own_ms:.0f} ms by {work.workers} processes, {trial.other_ms:.0f} ms with kept photos"
        )
    else:
        saved = figures.seconds(Phase.READ, Phase.DECODE)
        todo = f"--set cache_mib={need}"
        why = f"{saved:.1f} s of every epoch are reading and decoding; {work.photos:,} decoded photos take {need:,} MiB"
    return figures.advice("cache", todo=todo, why=f"{why}, and {room:,.0f} MiB are free", first=0.0, later=saved)


def _prepared(figures: Figures, tried: Tried) -> Advice | None:
    work = figures.work
    trial = tried.by_kind.get(("prepared", "prepared"))
    if trial is None:
        return None
    loaders = tried.by_kind.get(("loader", "prepared"))
    if loaders is not None:
        later = figures.seconds(*LOADING, *COMPUTING, Phase.COPY) * (1 - loaders.ratio)
        first = later
    elif work.workers:
        return None
    elif work.keeps_photos:
        first, later = figures.decoding_once * (1 - trial.ratio), 0.0
    else:
        first = later = figures.seconds(Phase.READ, Phase.DECODE) * (1 - trial.ratio)
    todo = f"bintally prepare DATA SMALL --side {work.side_px}, and train on SMALL"
    once = work.photos * trial.own_ms / 1e3
    why = (
        f"a photo takes {trial.own_ms:.2f} ms to read and decode, prepared {trial.other_ms:.2f} ms; preparing takes "
        f"about {once:.0f} s of one core, once"
    )
    return figures.advice("prepared", todo=todo, why=why, first=first, later=later)
