import pytest
from tests.cli.runner import Bintally


@pytest.fixture
def bintally(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Bintally:
    """The command line."""
    return Bintally(monkeypatch, capsys)
