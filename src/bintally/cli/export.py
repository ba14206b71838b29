"""`bintally export`: a run's checkpoint, or several that answer as one, as one model file."""

from pathlib import Path
from typing import Annotated

import typer

from bintally.cli.extras import extra
from bintally.errors import SettingsError
from bintally.inference.find import FILE_NAME


def export(
    runs: Annotated[list[Path], typer.Argument(help="Runs' folders; several answer as one.", metavar="RUN...")],
    out: Annotated[
        Path | None, typer.Option(help=f"Where to write; by default RUN/{FILE_NAME}.", show_default=False)
    ] = None,
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Ask about each photo's mirror image too, and take the mean.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            help="The dataset they were trained on: with --mirror or several runs, the mean is calibrated on it.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="What it calls itself.", show_default="the first run's name")] = "",
    half: Annotated[bool, typer.Option("--half", help="Keep weights in 16 bits: half the bytes.")] = False,
) -> None:
    """Write a model as one ONNX file: preprocessing, K, calibration, provenance and licence inside.

    Several runs answer with the mean of their probabilities: better than each, and as much slower as they are many.
    """
    if len(runs) > 1 and out is None:
        raise SettingsError("export: several runs need --out FILE")
    if (len(runs) > 1 or mirror) and data is None:
        raise SettingsError("export: a mean is calibrated anew; pass --data with the dataset the runs were trained on")
    if len(runs) == 1 and not mirror and data is not None:
        raise SettingsError("export: one run is calibrated already; leave --data out, or ask for --mirror too")
    with extra("train", "bintally export"):
        from bintally.export import export as write_model
        from bintally.models.checkpoint import load_checkpoint
        from bintally.models.ensemble import Ensemble
    path = out or runs[0] / FILE_NAME
    model = Ensemble([load_checkpoint(run) for run in runs], mirror=mirror)
    if data is not None and not model.is_plain:
        from bintally.cli.evaluate import progress_bars
        from bintally.data.manifest import read_manifest

        with progress_bars() as bar:
            model.calibrate(read_manifest(data), progress=bar("calibrating"))
        largest = max(map(abs, model.calibration.biases))
        typer.echo(f"calibrated: temperature {model.calibration.temperature}, biases up to {largest:.2f}")
    difference = write_model(model, path, name=name, half=half)
    typer.echo(
        f"{path}: {path.stat().st_size / 1e6:.1f} MB, differs from the checkpoint by {difference:.1e} at most; "
        f"licence: {model.facts[0].provenance.licence}"
    )
    typer.echo(f"Next: bintally count PHOTO --model {path}")
