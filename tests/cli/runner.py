"""Runs `bintally` in this process as its installed command runs: real exit codes, real standard output."""

import json
import sys
from dataclasses import dataclass

import pytest

from bintally.cli.app import main


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a run of the command left."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, object]]:
        """Standard output as lines of JSON."""
        return [json.loads(line) for line in self.out.splitlines()]


class Bintally:
    """Call it with the command's arguments."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *arguments: object) -> Run:
        self._monkeypatch.setattr(sys, "argv", ["bintally", *(str(argument) for argument in arguments)])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        said = self._capsys.readouterr()
        return Run(code=int(caught.value.code or 0), out=said.out, err=said.err)
