"""A missing part answers with the install command; a mistake of our own does not."""

import pytest

from bintally.cli.extras import extra
from bintally.errors import MissingExtraError


def test_a_missing_module_names_the_extra() -> None:
    said = r"bintally train needs .*pip install 'bintally\[train\]'"
    with pytest.raises(MissingExtraError, match=said) as caught, extra("train", "bintally train"):
        import a_module_that_nobody_has.part  # noqa: F401
    assert caught.value.extra == "train"
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_a_missing_module_of_our_own_is_a_bug() -> None:
    with pytest.raises(ModuleNotFoundError, match="bintally"), extra("train", "bintally train"):
        import bintally.no_such_layer  # noqa: F401


def test_what_else_goes_wrong_is_left_alone() -> None:
    with pytest.raises(ZeroDivisionError), extra("train", "bintally train"):
        _ = 1 / 0
