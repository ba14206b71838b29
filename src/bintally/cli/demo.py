"""`bintally demo`: the main job from end to end, on drawn bins or on a real bucket."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.extras import extra
from bintally.errors import SettingsError

if TYPE_CHECKING:
    from bintally.data.manifest import Manifest

_DRAWN_PHOTOS = 2400
_SOURCE_PHOTOS = 2000
_SHOWN = 4
_CHANGES_DRAWN = ["data.side_px=96", "epochs=12"]
# Few photos, few steps: an average of the weights over fewer of them.
_CHANGES_FINE = ["optimiser.ema_decay=0.98", "epochs=6"]
# So few real photos are soon learned by heart: softer labels, more varied photos, smaller steps, more of them.
_CHANGES_REAL = ["label_softness=0.8", "augment.shrink=0.2", "optimiser.lr=0.001", "epochs=16", "patience=16"]
_FEW = 1000  # below this, a split may lack a photo of some count


def demo(
    source: Annotated[
        str | None, typer.Option(help="A bucket's URL or a folder in its layout; by default bins are drawn.")
    ] = None,
    photos: Annotated[
        int | None, typer.Option(min=200, help="How many photos; 2,400 drawn ones or 2,000 of a source by default.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="ImageNet weights of MobileNetV2: then that is trained, else the small CNN.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder for everything; must be new or empty.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Start of all random numbers.")] = 0,
) -> None:
    """Run the whole path once: bucket, ingest, split, train, compare with baselines, count and verify."""
    with extra("train", "bintally demo"):
        import torch  # noqa: F401 - so that what is missing is said before anything is made
    started = time.monotonic()
    if out.exists() and any(out.iterdir()):
        raise SettingsError(f"{out}: expected a new or empty folder; remove it, or choose another with --out")
    photos = photos or (_SOURCE_PHOTOS if source else _DRAWN_PHOTOS)
    bucket = source or _draw(out / "bucket", photos, seed)
    manifest = _dataset(bucket, out / "data", photos, limit=source is not None)
    run = out / "runs" / ("mobilenetv2" if weights else "smallcnn")
    _train(manifest, run, weights, drawn=source is None, seed=seed)
    _step(
        "Evaluate it beside the baselines",
        f"bintally evaluate {run} --data {out / 'data'} --benchmark prior --out {out / 'evaluation'}",
    )
    from bintally.cli.evaluate import REPORT_NAME, evaluate_runs, print_comparison

    evaluations = evaluate_runs([run], manifest, out / "evaluation", benchmark="prior")
    print_comparison(evaluations, "prior")
    _answer(manifest, run)
    typer.echo(f"\nThe whole path took {time.monotonic() - started:.0f} s. Report: {out / 'evaluation' / REPORT_NAME}")


def _draw(bucket: Path, photos: int, seed: int) -> str:
    from bintally.cli.draw import draw

    _step("Draw a bucket of bins", f"bintally draw {bucket} --photos {photos} --seed {seed} --oddities")
    draw(bucket, photos=photos, seed=seed, oddities=True)
    return str(bucket)


def _dataset(bucket: str, data: Path, photos: int, *, limit: bool) -> "Manifest":
    from bintally.cli.ingest import ingest
    from bintally.cli.split import split
    from bintally.data.manifest import read_manifest

    _step("Ingest photos and records", f"bintally ingest {bucket} {data}" + (f" --limit {photos}" if limit else ""))
    ingest(bucket, data, limit=photos if limit else None)
    required = "none" if photos < _FEW else None
    _step("Split, siblings together", f"bintally split {data}" + (f" --require-counts {required}" if required else ""))
    split(data, require_counts=required)
    return read_manifest(data)


def _train(manifest: "Manifest", run: Path, weights: Path | None, *, drawn: bool, seed: int) -> None:
    from bintally.cli.train import choose_settings, train_run

    changes = _CHANGES_DRAWN if drawn else _CHANGES_REAL if weights is None else _CHANGES_FINE
    shown = "".join(f" --set {change}" for change in changes) + (f" --weights {weights}" if weights else "")
    _step("Train and calibrate", f"bintally train {manifest.root} --recipe {run.name} --seed {seed}{shown} --out {run}")
    train_run(manifest, choose_settings(run.name, None, seed=seed, changes=changes), run, weights=weights)


def _answer(manifest: "Manifest", run: Path) -> None:
    """Count a few test photos and verify each against its record, and one against a record that is wrong."""
    from bintally.cli.answers import sentence
    from bintally.cli.evaluate import load_engine
    from bintally.data.manifest import Split
    from bintally.domain.verdicts import decide

    _step("Count and verify a few photos of the test split", f"bintally verify PHOTO --expect N --model {run}")
    engine = load_engine(run)
    rows = manifest.usable(Split.TEST).filter(manifest.usable(Split.TEST)["count"] > 0).head(_SHOWN)
    for index, (key, count) in enumerate(rows.select("photo_key", "count").iter_rows()):
        distribution = engine.count((manifest.root / key).read_bytes(), name=key)
        expected = count + 2 if index == _SHOWN - 1 else count
        verdict = decide(distribution, expected, known_counts=engine.facts.known_counts)
        typer.echo(sentence(Path(key).name, distribution, 0.9))
        truth = "the record is right" if expected == count else f"made wrong on purpose: the record says {count}"
        typer.echo(f"    {expected} expected ({truth}) -> {verdict.decision.value.upper()}: {verdict.reason}")


def _step(title: str, command: str) -> None:
    from rich.console import Console

    Console().rule(f"[bold]{title}", align="left")
    typer.echo(f"$ {command}")
