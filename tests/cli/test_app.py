"""Exit codes and sentences: what a script and a person may rely on."""

import re

import pytest
import typer
from tests.cli.runner import Bintally

from bintally import __version__, errors
from bintally.cli import exits
from bintally.cli.app import app
from bintally.cli.exits import BY_DECISION, INTERRUPTED, REFUSED, exit_code
from bintally.domain.verdicts import Decision

VERBS = [
    "demo",
    "draw",
    "ingest",
    "split",
    "audit",
    "prepare",
    "push",
    "recipes",
    "train",
    "tune",
    "track",
    "evaluate",
    "export",
    "promote",
    "count",
    "verify",
    "serve",
]


def below(kind: type[errors.BintallyError]) -> list[type[errors.BintallyError]]:
    """Every class of ours below `kind`."""
    return [
        each for child in kind.__subclasses__() for each in (child, *below(child)) if "bintally" in child.__module__
    ]


def documented() -> dict[int, str]:
    """The table in the docstring of exits.py."""
    rows = re.findall(r"^(\d+) +(.+)$", exits.__doc__ or "", re.MULTILINE)
    return {int(code): meaning for code, meaning in rows}


def error_of(kind: type[errors.BintallyError]) -> errors.BintallyError:
    if kind is errors.MissingExtraError:
        return errors.MissingExtraError("train", needed_for="this")
    return kind("what is wrong and what to do")


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """As if a verb had raised `error`."""

    def fail() -> None:
        raise error

    (verb,) = [command for command in app.registered_commands if command.name == "recipes"]
    monkeypatch.setattr(verb, "callback", fail)


@pytest.mark.parametrize("kind", below(errors.BintallyError), ids=lambda kind: kind.__name__)
def test_every_error_ends_as_its_sentence_and_a_documented_code(
    kind: type[errors.BintallyError], bintally: Bintally, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = error_of(kind)
    raising(monkeypatch, error)
    run = bintally("recipes")
    assert run.code == exit_code(error)
    assert run.code in documented()
    assert run.err == f"bintally: {error}\n"
    assert run.out == ""


def test_every_code_in_use_is_documented_and_every_documented_one_in_use() -> None:
    used = {exit_code(error_of(kind)) for kind in below(errors.BintallyError)} | set(BY_DECISION.values())
    assert set(documented()) == used | {1, INTERRUPTED, REFUSED}
    assert set(BY_DECISION) == set(Decision)


@pytest.mark.parametrize(("decision", "word"), [(0, "match"), (10, "short"), (11, "over"), (12, "review")])
def test_the_table_says_which_verdict_is_which(decision: int, word: str) -> None:
    assert word in documented()[decision]
    assert BY_DECISION[Decision(word)] == decision


def test_a_fault_of_our_own_is_not_hidden(bintally: Bintally, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, ZeroDivisionError("ours"))
    with pytest.raises(ZeroDivisionError):
        bintally("recipes")


def test_an_interrupt_is_130(bintally: Bintally, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, KeyboardInterrupt())
    assert bintally("recipes").code == INTERRUPTED == 130


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["count"], ["count", "--colour", "x.jpg"], ["verify", "x.jpg"], ["count", "x.jpg", "--level", "2"]],
    ids=" ".join,
)
def test_a_command_that_cannot_be_meant_is_2(arguments: list[str], bintally: Bintally) -> None:
    run = bintally(*arguments)
    assert run.code == 2
    assert "Traceback" not in run.err


def test_version(bintally: Bintally) -> None:
    run = bintally("--version")
    assert (run.code, run.out) == (0, f"bintally {__version__}\n")


def test_help_names_every_verb(bintally: Bintally) -> None:
    run = bintally("--help")
    assert run.code == 0
    assert all(verb in run.out for verb in VERBS)
    assert [command.name for command in app.registered_commands] == VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_and_every_option_has_help(verb: str, bintally: Bintally) -> None:
    command = typer.main.get_command(app).commands[verb]  # type: ignore[attr-defined]
    assert command.help
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{verb} {parameter.name}"
    assert bintally(verb, "--help").code == 0


def test_recipes_lists_them_and_prints_one(bintally: Bintally) -> None:
    run = bintally("recipes")
    assert run.code == 0
    assert all(name in run.out for name in ("resnet101", "smallcnn", "optimiser.lr"))
    one = bintally("recipes", "resnet101")
    assert 'backbone = "resnet101"' in one.out
    assert bintally("recipes", "resnet9").code == 2
