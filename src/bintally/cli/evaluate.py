"""`bintally evaluate`: runs and baselines on the same photos, side by side."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from bintally.cli.extras import extra
from bintally.errors import SettingsError

if TYPE_CHECKING:
    from bintally.data.manifest import Manifest, Split
    from bintally.domain.classes import CountClasses
    from bintally.evaluation.results import Evaluation
    from bintally.inference.engine import Engine

REPORT_NAME = "report.html"
_BASELINES = ("majority", "prior", "cues")
_T = TypeVar("_T")
Bar = Callable[[str], Callable[[int, int], None]]
_LAST_COUNT = 20  # K of baselines beside runs that tell no common counts apart


def evaluate(
    runs: Annotated[list[Path], typer.Argument(help="Runs' folders, or model files.", metavar="RUN|MODEL...")],
    data: Annotated[Path, typer.Option("--data", help="The dataset's folder, ingested and split.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Where the figures go; by default `evaluation` in the first run.", show_default=False),
    ] = None,
    benchmark: Annotated[
        str | None, typer.Option(help="Compare the others with this run, photo by photo; by default the best.")
    ] = None,
    baselines: Annotated[bool, typer.Option(help="Also majority, prior and photo-free cues.")] = True,
    max_train_photos: Annotated[
        int | None, typer.Option(min=1, help="Measure the train split on so many of its photos; val and test whole.")
    ] = None,
) -> None:
    """Measure runs and baselines on the train, val and test splits, by one protocol.

    Writes one JSON file per estimator, all figures as CSV and one HTML report, and prints the comparison. The test
    split is for the last look: choose between ideas on val.
    """
    with extra("report", "bintally evaluate"):
        from bintally.data.manifest import read_manifest
    folder = out or (runs[0] if runs[0].is_dir() else runs[0].parent) / "evaluation"
    manifest = read_manifest(data)
    evaluations = evaluate_runs(
        runs, manifest, folder, benchmark=benchmark, baselines=baselines, max_train_photos=max_train_photos
    )
    print_comparison(evaluations, Path(benchmark).name if benchmark else None)
    if max_train_photos is not None:
        typer.echo(f"Of train at most {max_train_photos:,} photos were measured (--max-train-photos)")
    typer.echo(f"Report: {folder / REPORT_NAME}")


def evaluate_runs(
    runs: Sequence[Path],
    manifest: "Manifest",
    out: Path,
    *,
    benchmark: str | None = None,
    baselines: bool = True,
    max_train_photos: int | None = None,
) -> "list[Evaluation]":
    """Evaluate runs, and baselines fitted for the same task, into `out`: a JSON file each and one report.

    Raises:
        SettingsError: if two have one name, or none has the benchmark's.
        BintallyError: whatever is wrong with a run, the manifest or a photo.
    """
    with extra("report", "bintally evaluate"):
        from bintally.data.prepared import check_side
        from bintally.evaluation.evaluate import evaluate as measure
        from bintally.evaluation.figures import FILE_NAME, write_figures
        from bintally.evaluation.health import FILE_NAME as HEALTH_NAME
        from bintally.evaluation.health import read_health
        from bintally.evaluation.report import write_report
        from bintally.evaluation.results import read_curves, write_evaluation
        from bintally.models.baselines import fit_baselines

    engines = [(load_engine(run), run) for run in runs]
    for engine, run in engines:
        check_side(manifest, engine.facts.side_px, wanted_by=str(run))
    names = [*(engine.name for engine, _ in engines), *(_BASELINES if baselines else ())]
    if len(set(names)) < len(names):
        raise SettingsError(
            f"expected runs of different names, got {names}; change `name` in a run's checkpoint.json, and export again"
        )
    beside = Path(benchmark).name if benchmark else None
    if beside is not None and beside not in names:
        raise SettingsError(f"--benchmark: expected one of {', '.join(names)}, got {benchmark!r}")
    classes = _task([engine for engine, _ in engines])
    excluded = _excluded([engine for engine, _ in engines])
    with progress_bars() as bar:
        reading = bar("reading photos for the baselines") if baselines else None
        fitted = fit_baselines(manifest, classes, excluded=excluded, progress=reading) if baselines else ()
        estimators = [
            *((baseline, classes.known_counts, None) for baseline in fitted),
            *((engine, engine.facts.known_counts, run) for engine, run in engines),
        ]
        done = [
            measure(
                estimator,
                manifest,
                known_counts=known_counts,
                curves=_read(run, "curves.csv", read_curves),
                health=_read(run, HEALTH_NAME, read_health),
                max_train_photos=max_train_photos,
                excluded=excluded,
                progress=_by_split(bar, estimator.name),
            )
            for estimator, known_counts, run in estimators
        ]
    for evaluation in done:
        write_evaluation(evaluation, out / f"{evaluation.estimator}.json")
    write_figures(done, out / FILE_NAME)
    write_report(out / REPORT_NAME, done, manifest, benchmark=beside)
    return done


def load_engine(run: Path) -> "Engine":
    """The engine of a model file, or of a run's folder, whose checkpoint is exported first where that is not done."""
    from bintally.inference.engine import Engine
    from bintally.inference.find import FILE_NAME

    if run.suffix == ".onnx":
        return Engine(run)
    path = run / FILE_NAME
    facts = run / "checkpoint.json"
    if not path.is_file() or (facts.is_file() and facts.stat().st_mtime > path.stat().st_mtime):
        with extra("train", f"exporting {run}"):
            from bintally.export import export
            from bintally.models.checkpoint import load_checkpoint
        export(load_checkpoint(run), path)
    return Engine(path)


def print_comparison(evaluations: "Sequence[Evaluation]", benchmark: str | None = None) -> None:
    """Print the comparison table; with a benchmark's name, also how the others differ from it."""
    from rich.console import Console

    from bintally.evaluation.compare import compare
    from bintally.evaluation.metrics import ScopeName
    from bintally.evaluation.table import paired_table, scores_table, splits_table

    console = Console()
    for scope in (ScopeName.ALL, ScopeName.FIVE_RESTRICTED):
        console.print(splits_table(evaluations, scope))
    console.print(scores_table(evaluations))
    for against in (each for each in evaluations if each.estimator == benchmark):
        console.print(paired_table([compare(each, against) for each in evaluations if each is not against]))


def _read(run: Path | None, name: str, read: Callable[[Path], _T]) -> _T | None:
    """What a run's folder holds by that name; None: it does not, or there is no run."""
    return read(run / name) if run and (run / name).is_file() else None


def _excluded(engines: "Sequence[Engine]") -> list[str]:
    """The flags that kept photos out of any run: train and val are measured without them, alike for all."""
    flags = {engine.name: engine.facts.provenance.excluded_flags for engine in engines}
    together = list(dict.fromkeys(flag for each in flags.values() for flag in each))
    if any(set(each) != set(together) for each in flags.values()):
        said = "; ".join(f"{name}: {', '.join(each) or 'none'}" for name, each in flags.items())
        typer.echo(f"Different flags kept photos out of these runs ({said}): train and val are measured without them.")
    return together


def _task(engines: "Sequence[Engine]") -> "CountClasses":
    """The classes that baselines are fitted to: those of the runs where all have the same ends, else every count."""
    from bintally.domain.classes import CountClasses

    known = {engine.facts.known_counts for engine in engines}
    low, high = next(iter(known))
    if len(known) == 1 and high is not None:
        return CountClasses(low=low, high=high, open_ended=False)
    last = max((engine.last_count for engine in engines if engine.facts.known_high is None), default=_LAST_COUNT)
    return CountClasses(low=0, high=last, open_ended=True)


@contextmanager
def progress_bars() -> "Iterator[Bar]":
    """Progress bars on standard error: called with what is done, gives what to call with (done, all)."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:

        def bar(description: str) -> Callable[[int, int], None]:
            task = progress.add_task(description, total=None)
            return lambda done, total: progress.update(task, completed=done, total=total)

        yield bar


def _by_split(bar: "Bar", name: str) -> "Callable[[Split, int, int], None]":
    """A bar per split, made when the split is begun."""
    bars: dict[Split, Callable[[int, int], None]] = {}

    def on_progress(split: "Split", done: int, total: int) -> None:
        if split not in bars:
            bars[split] = bar(f"{name}: {split.value}")
        bars[split](done, total)

    return on_progress
