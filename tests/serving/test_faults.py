"""HTTP statuses: the table is whole."""

import ast
import inspect
import re
from pathlib import Path

import pytest
from tests.test_errors import PUBLIC

import bintally.serving
from bintally import errors
from bintally.serving import faults
from bintally.serving.faults import fault_of, http_fault

DOCUMENTED = {int(code) for code in re.findall(r"^(\d{3}) ", faults.__doc__ or "", re.MULTILINE)}


@pytest.mark.parametrize("kind", PUBLIC, ids=lambda kind: kind.__name__)
def test_every_error_has_a_documented_status(kind: type[errors.BintallyError]) -> None:
    fault = fault_of(kind.__new__(kind))
    assert fault.status in DOCUMENTED
    if issubclass(kind, errors.PhotoError):
        assert fault.status < 500, "the client's photo, the client's fault"


def test_the_table_holds_every_status_in_use_and_no_other() -> None:
    """Read off the calls of Fault in the layer, and the table of errors."""
    used = {status for status, _ in faults._BY_ERROR.values()} | {404, 405}  # the router's own
    for path in Path(inspect.getfile(bintally.serving)).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            is_fault = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Fault"
            if is_fault and isinstance(node.args[0], ast.Constant):
                used.add(node.args[0].value)
    assert used == DOCUMENTED


def test_the_page_names_every_code() -> None:
    source = Path(inspect.getfile(bintally.serving)).parent
    calls = [node for path in source.glob("*.py") for node in ast.walk(ast.parse(path.read_text()))]
    codes = {code for _, code in faults._BY_ERROR.values()} - {"no-model", "bad-photo"}  # no server answers these
    for node in calls:
        is_fault = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Fault"
        if is_fault and isinstance(node.args[1], ast.Constant):
            codes.add(node.args[1].value)
    page = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()
    assert len(codes) > 15
    assert [code for code in sorted(codes) if f"`{code}`" not in page] == []


def test_a_fault_says_itself() -> None:
    fault = fault_of(errors.BrokenPhotoError("x.jpg: damaged"))
    assert (fault.status, fault.fields) == (422, {"error": {"code": "broken-photo", "message": "x.jpg: damaged"}})
    assert http_fault(405, "Method Not Allowed").code == "method-not-allowed"
