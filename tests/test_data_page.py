"""docs/data.md quotes what Bintally says: each quotation must be in the source."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
TABLE = PAGE[PAGE.index("| it says |") :]
SAID = [said for line in TABLE.splitlines()[2:] for said in re.findall(r"`([^`]+)`", line.split("|")[1])]


@pytest.fixture(scope="module")
def source() -> str:
    """All modules of data, with string literals that stand beside each other put together."""
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "src" / "bintally" / "data").glob("*.py")]
    return re.sub(r'"\s*\n\s*f?"', "", "\n".join(texts))


@pytest.mark.parametrize("said", SAID)
def test_what_is_quoted_is_said(source: str, said: str) -> None:
    assert said.removesuffix(" s3:...") in source


def test_there_are_quotations() -> None:
    assert len(SAID) > 15
