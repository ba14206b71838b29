"""Writes `docs/cli.md` from the command line's own help, or with `--check` says whether it is as it would be written.

Always 100 columns and no colours, so that the page does not depend on whose terminal it was written in.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import typer
from typer.testing import CliRunner

from bintally.cli.app import app

PAGE = Path(__file__).with_name("cli.md")
# Typer reads these when it prints its first help.
PLAIN = {"TERMINAL_WIDTH": "100", "COLUMNS": "100", "_TYPER_FORCE_DISABLE_TERMINAL": "1", "NO_COLOR": "1"}
HEAD = """\
# The command line

What every verb's `--help` says, written by `make docs`; a test checks that it is up to date. Exit codes stand in
[formats.md](formats.md#exit-codes).
"""


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *map(_section, _calls(typer.main.get_command(app)))])


def _calls(command: object, *words: str) -> Iterator[list[str]]:
    """The words that call `command`, and those of every verb below it."""
    yield list(words)
    for name, verb in getattr(command, "commands", {}).items():
        yield from _calls(verb, *words, name)


def _section(verb: list[str]) -> str:
    answer = CliRunner().invoke(app, [*verb, "--help"], prog_name="bintally", env=PLAIN)
    if answer.exit_code:
        raise RuntimeError(answer.output)
    lines = [line.rstrip() for line in answer.stdout.strip("\n").splitlines()]
    return "\n".join([f"## {' '.join(['bintally', *verb])}", "", "```text", *_trimmed(lines), "```", ""])


def _trimmed(lines: list[str]) -> list[str]:
    """Without the empty lines that Typer puts first and last."""
    while lines and not lines[0]:
        lines = lines[1:]
    while lines and not lines[-1]:
        lines = lines[:-1]
    return lines


def main() -> int:
    """Write the page, or check it."""
    os.environ.update(PLAIN)
    wanted = page()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(wanted, encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == wanted:
        return 0
    print(f"{PAGE.name} is not what --help says now. Write it anew: make docs", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
