"""A model file's facts: there and back, and refused where they cannot be."""

import json

import pytest
from tests.tiny_model import tiny_facts

from bintally.errors import ModelError
from bintally.inference.model_file import FORMAT_VERSION, METADATA_KEY, parse_facts


def metadata(**changes: object) -> dict[str, str]:
    return {METADATA_KEY: json.dumps({**json.loads(tiny_facts().model_dump_json()), **changes})}


def test_facts_come_back_as_they_were() -> None:
    facts = tiny_facts().model_copy(update={"known_low": 1, "known_high": 5, "metrics": {"val_loss": 1.25}})
    again = parse_facts({METADATA_KEY: facts.model_dump_json(), "other": "x"}, "m.onnx")
    assert again == facts
    assert again.known_counts == (1, 5)


def test_without_facts_it_is_not_ours() -> None:
    with pytest.raises(ModelError, match=r"m\.onnx: an ONNX file, but not one of Bintally's"):
        parse_facts({"other": "x"}, "m.onnx")


@pytest.mark.parametrize("version", [0, FORMAT_VERSION + 1, None])
def test_another_version_is_refused(version: int | None) -> None:
    with pytest.raises(ModelError, match=r"m\.onnx: expected a model of format 1.*format_version"):
        parse_facts(metadata(format_version=version), "m.onnx")


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "{}", '"facts"'])
def test_what_are_no_facts_is_refused(text: str) -> None:
    with pytest.raises(ModelError, match="Export it again"):
        parse_facts({METADATA_KEY: text}, "m.onnx")
