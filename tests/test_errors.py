"""The exception tree: drawn as it is, and described."""

import inspect
import re

import pytest

from bintally import errors
from bintally.cli.exits import exit_code

PUBLIC = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if kind.__module__ == errors.__name__ and issubclass(kind, BaseException)
]


def drawn_parents() -> dict[str, str | None]:
    """Each error that the module's docstring draws, with the one it hangs on."""
    parents: dict[str, str | None] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^ {4}([│├└─ ]*)(\w+Error)\b", line)
        if found is None:
            continue
        depth, name = len(found[1]), found[2]
        above = [(at, other) for at, other in above if at < depth]
        parents[name] = above[-1][1] if above else None
        above.append((depth, name))
    return parents


def test_the_drawn_tree_is_the_real_one() -> None:
    real = {kind.__name__: None if kind is errors.BintallyError else kind.__base__.__name__ for kind in PUBLIC}
    assert drawn_parents() == real


@pytest.mark.parametrize("kind", PUBLIC, ids=lambda kind: kind.__name__)
def test_every_error_is_described(kind: type[errors.BintallyError]) -> None:
    own = kind.__dict__.get("__doc__")
    assert own
    assert own.endswith(".")
    assert kind.__name__.endswith("Error")


@pytest.mark.parametrize(
    "kind", [kind for kind in PUBLIC if kind is not errors.BintallyError], ids=lambda kind: kind.__name__
)
def test_every_error_has_an_exit_code(kind: type[errors.BintallyError]) -> None:
    assert exit_code(kind.__new__(kind)) in (range(2, 9) if kind is not errors.StoppedError else {143})


def test_a_missing_extra_names_the_install_command() -> None:
    error = errors.MissingExtraError("train", needed_for="bintally train")
    assert str(error).endswith("pip install 'bintally[train]'")
    assert error.extra == "train"
