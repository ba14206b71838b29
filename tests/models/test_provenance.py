"""Where a model comes from: what old files did not say yet, and the page that names every field."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from bintally.models.provenance import Provenance

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"
OLD = {
    "bintally_version": "0.1.0",
    "created": "2025-01-01T00:00:00+00:00",
    "source": "s3://bins",
    "manifest_hash": "0" * 12,
    "split_hash": "1" * 12,
    "settings_hash": "2" * 12,
    "weights": "none",
    "licence": "ours alone",
}


def test_a_model_from_before_says_what_was_so_then() -> None:
    old = Provenance.model_validate(OLD)
    assert (old.prepared, old.excluded_flags) == ("", ("total-mismatch",))


def test_it_comes_back_from_json() -> None:
    new = Provenance.model_validate({**OLD, "prepared": "3" * 12, "excluded_flags": ("dark",)})
    assert Provenance.model_validate_json(new.model_dump_json()) == new


def test_what_it_does_not_know_is_refused() -> None:
    with pytest.raises(ValidationError, match="colour"):
        Provenance.model_validate({**OLD, "colour": "red"})


def test_the_formats_page_has_just_these_fields() -> None:
    _, _, rest = PAGE.read_text(encoding="utf-8").partition("Its `provenance`, which travels in the model file too:")
    table, _, _ = rest.partition("\n## ")
    named = [name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)]
    assert named == list(Provenance.model_fields)
