"""From a model to the registry, and through the gate: registered, compared with the champion, promoted or refused.

Both are measured anew, by the engine that answers, on the test split of one dataset. Refuses a model that learned from
other splits than that dataset's.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bintally.data.manifest import Manifest, Split
from bintally.data.prepared import check_side
from bintally.domain.classes import CountClasses
from bintally.domain.counts import CountEstimator
from bintally.errors import CheckpointError, StoreError
from bintally.evaluation.evaluate import evaluate
from bintally.evaluation.metrics import MetricName, ScopeName
from bintally.evaluation.results import Evaluation
from bintally.inference.engine import Engine
from bintally.models.baselines import PriorBaseline
from bintally.tracking.after import send_folder
from bintally.tracking.folder import Status, evaluation_figures
from bintally.tracking.gate import Judgement, Margins, Outcome, judge, judge_first
from bintally.tracking.promotion import Promotion, now, send_promotion
from bintally.tracking.record import Origin, Record, now_ms, read_record
from bintally.tracking.registry import (
    Alias,
    Tag,
    Version,
    champion_of,
    digest_of,
    drop_alias,
    exclusive,
    fetch,
    list_versions,
    register,
    say,
    set_alias,
)
from bintally.tracking.send import find_run, send_figures
from bintally.tracking.store import Store, translated

Progress = Callable[[str], Callable[[int, int], None]]
"""Called with what is measured, gives what to call with (done, all)."""

_ROUNDS = 5  # of comparisons, where the champion changes meanwhile


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a user wants.

    Attributes:
        model: the model file.
        run: the folder of the run that made it; None: it is not known.
        manifest: on whose test split models are compared.
        name: the model's in the registry.
        margins: of the gate.
        dry_run: compare only; nothing is registered or changed.
    """

    model: Path
    run: Path | None
    manifest: Manifest
    name: str
    margins: Margins
    dry_run: bool = False


def promote(store: Store, wish: Wish, progress: Progress) -> Promotion:
    """Register, compare, and decide.

    Raises:
        CheckpointError: if the model learned from other splits.
        ManifestError: if the dataset has no test split.
        ModelError: if a model's file is damaged.
        StoreError: if the store refuses or cannot be reached, or two promotions met.
    """
    candidate = Engine(wish.model)
    _check_splits(candidate, wish)
    _ = store.experiment_id
    digest = digest_of(wish.model)
    if (champion := champion_of(store, wish.name)) is not None and champion.sha256 == digest:
        why = f"{champion.name} has this very file"
        return _promotion(wish, candidate, champion.number, champion, _nothing(Outcome.ALREADY, why))
    version, run_id = (None, "") if wish.dry_run else _register(store, wish, candidate)
    here = _measure(candidate, f"{candidate.name} (candidate)", wish, progress)
    for _ in range(_ROUNDS):
        began, champion = now(), champion_of(store, wish.name)
        judgement = _judge(store, champion, here, candidate, wish, progress)
        number = version.number if version else None
        found = _promotion(wish, candidate, number, champion, judgement)
        if version is None:
            return found
        with exclusive(store):
            if _number(champion_of(store, wish.name)) != _number(champion):
                continue  # another one took the place while this one was measured
            _write(store, wish.name, version, found, here)
            if judgement.outcome is Outcome.PROMOTED:
                _check_alone(store, wish.name, version, began, over=_number(champion))
        send_figures(store, run_id, evaluation_figures(here))
        send_promotion(store, run_id, found, wish.run)
        return found
    raise StoreError(f"{store.uri}: the champion of {wish.name!r} changed {_ROUNDS} times meanwhile; try again")


def _check_splits(engine: Engine, wish: Wish) -> None:
    check_side(wish.manifest, engine.facts.side_px, wanted_by=str(wish.model))
    learned, held = engine.facts.provenance.split_hash, wish.manifest.split_hash
    if learned != held:
        raise CheckpointError(
            f"{wish.model}: learned from other splits (split hash {learned}) than {wish.manifest.root} has ({held}), "
            "so photos of this test split may be among those it learned from. Give --data the dataset that it was "
            "trained on, or train on this one"
        )


def _register(store: Store, wish: Wish, engine: Engine) -> tuple[Version, str]:
    """The candidate's version, and the run that it lies with."""
    origin = Origin.of_model(engine.facts.provenance)
    if wish.run is not None:
        send_folder(store, wish.run)
        record = read_record(wish.run)
        name = wish.run.name
    else:
        record, name = None, engine.name
    if record is None:
        key = f"model-{digest_of(wish.model)[:32]}"
        record = Record(key=key, begun_ms=now_ms(), uri=store.uri, experiment=store.experiment, origin=origin)
    run_id = find_run(store, record, name)
    if wish.run is None:
        with translated(store.uri):
            store.client.set_terminated(run_id, Status.FINISHED.value)
    said = {f"bintally.{key}": getattr(origin, key)[:500] for key in ("dataset_hash", "split_hash", "licence")}
    version = register(store, wish.name, wish.model, run_id, {**said, Tag.NAME: engine.name})
    set_alias(store, wish.name, Alias.CANDIDATE, version)
    return version, version.run_id or run_id


def _judge(
    store: Store, champion: Version | None, here: Evaluation, candidate: Engine, wish: Wish, progress: Progress
) -> Judgement:
    if champion is None:
        return judge_first(here, _measure_prior(candidate, wish, progress))
    with tempfile.TemporaryDirectory() as scratch:
        engine = Engine(fetch(store, champion, Path(scratch) / "champion.onnx"))
        check_side(wish.manifest, engine.facts.side_px, wanted_by=champion.name)
        there = _measure(engine, f"{champion.name}, the champion", wish, progress)
    return judge(here, there, wish.margins)


def _measure(engine: Engine, name: str, wish: Wish, progress: Progress) -> Evaluation:
    return _evaluate(engine, name, wish, engine.facts.known_counts, progress)


def _measure_prior(candidate: Engine, wish: Wish, progress: Progress) -> Evaluation:
    low, high = candidate.facts.known_counts
    classes = CountClasses(low=low, high=candidate.last_count if high is None else high, open_ended=high is None)
    rows = wish.manifest.usable(Split.TRAIN, candidate.facts.provenance.excluded_flags)
    prior = PriorBaseline.fit(rows["count"].to_list(), classes)
    return _evaluate(prior, prior.name, wish, classes.known_counts, progress)


def _evaluate(
    estimator: CountEstimator, name: str, wish: Wish, known: tuple[int, int | None], progress: Progress
) -> Evaluation:
    bar = progress(name)
    found = evaluate(
        estimator,
        wish.manifest,
        splits=(Split.TEST,),
        known_counts=known,
        progress=lambda _split, done, total: bar(done, total),
    )
    return found.model_copy(update={"estimator": name})


def _promotion(
    wish: Wish, candidate: Engine, number: int | None, champion: Version | None, judgement: Judgement
) -> Promotion:
    return Promotion(
        when=now(),
        model=wish.name,
        candidate=candidate.name,
        version=number,
        compared_with=champion.name if champion else "prior",
        champion_version=_number(champion),
        dataset_hash=wish.manifest.content_hash,
        split_hash=wish.manifest.split_hash,
        dry_run=wish.dry_run,
        judgement=judgement,
    )


def _write(store: Store, name: str, version: Version, found: Promotion, here: Evaluation) -> None:
    """Reasons first, so that whoever promotes at the same moment can see them; then the aliases."""
    judgement = found.judgement
    figures = {
        tag: figure.value
        for tag, metric in ((Tag.ACCURACY, MetricName.ACCURACY), (Tag.CROSS_ENTROPY, MetricName.CROSS_ENTROPY))
        if (figure := here.figure(Split.TEST, ScopeName.ALL, metric)) is not None
    }
    tags = {Tag.GATE: judgement.outcome.value, Tag.WHY: judgement.why, Tag.WHEN: found.when}
    tags |= {tag: f"{value:.5f}" for tag, value in figures.items()}
    promoted = judgement.outcome is Outcome.PROMOTED
    if promoted:
        tags[Tag.OVER] = str(found.champion_version)
    say(store, name, version, tags, f"{judgement.outcome}: {judgement.why}")
    if not promoted:
        return
    set_alias(store, name, Alias.CHAMPION, version)
    if any(each.number == version.number and Alias.CANDIDATE in each.aliases for each in list_versions(store, name)):
        drop_alias(store, name, Alias.CANDIDATE)


def _check_alone(store: Store, name: str, version: Version, began: str, *, over: int) -> None:
    """Say so if another one was promoted over the same champion meanwhile: the two were not compared."""
    others = [
        each
        for each in list_versions(store, name)
        if each.number != version.number
        and each.tags.get(Tag.OVER) == str(over)
        and each.tags.get(Tag.WHEN, "") >= began
    ]
    if others:
        names = ", ".join(each.name for each in others)
        raise StoreError(
            f"{store.uri}: version {version.number} and {names} took the champion's place at the same time, and were "
            "not compared with each other. See who has it (bintally registry list), and promote the other again"
        )


def _number(version: Version | None) -> int:
    return version.number if version else 0


def _nothing(outcome: Outcome, why: str) -> Judgement:
    return Judgement(outcome=outcome, why=why, photos=0, groups=0, checks=())
