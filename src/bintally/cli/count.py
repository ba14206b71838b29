"""`bintally count`: how many items are in each photo."""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from bintally.cli.answers import count_fields, error_fields, json_line, sentence
from bintally.cli.exits import BAD_PHOTO
from bintally.errors import EmptySourceError, PhotoError

ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", help="A model file, a run's folder, or an installed model's name.", show_default=False
    ),
]
LevelOption = Annotated[float, typer.Option(min=0.01, max=0.999, help="How much the interval holds.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One line of JSON per photo.")]
_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png"})


def count(
    photos: Annotated[
        list[Path], typer.Argument(help="Photos, or folders of photos.", metavar="PHOTO|FOLDER...", readable=False)
    ],
    model: ModelOption = None,
    as_json: JsonOption = False,
    level: LevelOption = 0.9,
    threads: Annotated[int | None, typer.Option(min=1, help="Photos at a time; by default one per core.")] = None,
) -> None:
    """Count the items in photos.

    With --json a line per photo: photo, count (the most probable), probabilities over 0..K (the last: K or more) and
    interval. A photo that cannot be counted gives an error in its place, and exit code 4 at the end. Of a folder, files
    that end in .jpg, .jpeg, .jpe, .jfif or .png are counted; how many others there are is said.
    """
    from rich.console import Console
    from rich.progress import track

    from bintally.inference.engine import Engine
    from bintally.inference.find import find_model

    named = name_photos(photos)
    engine = Engine(find_model(model), threads=threads)
    failed = 0
    answers = track(
        engine.count_files(named),
        description="counting",
        total=len(named),
        console=Console(stderr=True),
        transient=True,
        disable=len(named) == 1 or sys.stderr is None or not sys.stderr.isatty(),
    )
    for path, answer in answers:
        name = named[path]
        if isinstance(answer, PhotoError):
            failed += 1
            typer.echo(f"bintally: {answer}", err=True)
            if as_json:
                typer.echo(json_line(error_fields(name, str(answer))))
        elif as_json:
            typer.echo(json_line(count_fields(name, answer, level)))
        else:
            typer.echo(sentence(name, answer, level))
    if failed:
        if len(named) > 1:
            typer.echo(f"bintally: {failed} of {len(named)} photos could not be counted", err=True)
        raise typer.Exit(BAD_PHOTO)


def name_photos(photos: list[Path]) -> dict[Path, str]:
    """Each photo file with the name it is printed under.

    A photo in a folder is named by its path below that folder, one given itself by its file name; where two names
    would be the same, each is named by its whole path as given. How many other files a folder has is told the user.

    Raises:
        EmptySourceError: if something is not there, a folder cannot be read, or holds no photo.
    """
    named = dict(_each(photos))
    twice = {name for name, times in Counter(named.values()).items() if times > 1}
    return {path: str(path) if name in twice else name for path, name in named.items()}


def is_folder(given: Path) -> bool:
    """Whether something that is there is a folder.

    Raises:
        EmptySourceError: if nothing is there, or that cannot be known.
    """
    try:
        if given.is_dir():
            return True
        if given.exists():
            return False
    except OSError as error:  # below a folder that may not be read, or a name that cannot be one
        raise _unreadable(given, error) from error
    raise EmptySourceError(f"{given}: no such photo or folder")


def _each(photos: list[Path]) -> Iterator[tuple[Path, str]]:
    for given in photos:
        if is_folder(given):
            files = _files_below(given)
            found = [path for path in files if path.suffix.lower() in _SUFFIXES]
            if not found:
                raise EmptySourceError(f"{given}: no photo here; expected files that end in .jpg, .jpeg or .png")
            if others := len(files) - len(found):
                typer.echo(f"bintally: {given}: left out, as their names are not a photo's: {others:,}", err=True)
            yield from ((path, path.relative_to(given).as_posix()) for path in found)
        else:
            yield given, given.name


def _files_below(folder: Path) -> list[Path]:
    """In order, but for hidden ones: macOS puts one beside each file on a disk that is not its own."""

    def refuse(error: OSError) -> NoReturn:
        raise _unreadable(Path(error.filename), error) from error

    named = (Path(inner) / name for inner, _, names in os.walk(folder, onerror=refuse) for name in names)
    return sorted(path for path in named if not path.name.startswith(".") and path.is_file())


def _unreadable(path: Path, error: OSError) -> EmptySourceError:
    return EmptySourceError(f"{path}: cannot be read ({error.strerror}); have reading allowed, or name other photos")
