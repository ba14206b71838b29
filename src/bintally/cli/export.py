"""`bintally export`: a run's checkpoint as one model file."""

from pathlib import Path
from typing import Annotated

import typer

from bintally.cli.extras import extra
from bintally.inference.find import FILE_NAME


def export(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    out: Annotated[
        Path | None, typer.Option(help=f"Where to write; by default RUN/{FILE_NAME}.", show_default=False)
    ] = None,
) -> None:
    """Write a run's model as one ONNX file: preprocessing, K, temperature, provenance and licence inside."""
    with extra("train", "bintally export"):
        from bintally.export import export as write_model
        from bintally.models.checkpoint import load_checkpoint
    path = out or run / FILE_NAME
    checkpoint = load_checkpoint(run)
    difference = write_model(checkpoint, path)
    typer.echo(
        f"{path}: {path.stat().st_size / 1e6:.1f} MB, differs from the checkpoint by {difference:.1e} at most; "
        f"licence: {checkpoint.facts.provenance.licence}"
    )
    typer.echo(f"Next: bintally count PHOTO --model {path}")
