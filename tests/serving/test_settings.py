"""A server's settings from the environment."""

from pathlib import Path

import pytest

from bintally.errors import SettingsError
from bintally.serving.settings import ServeSettings

MODEL = Path("model.onnx")


def test_the_environment_sets_what_is_not_given() -> None:
    environment = {
        "BINTALLY_SERVE_QUEUE": "3",
        "BINTALLY_SERVE_READ_SECONDS": "1.5",
        "HOME": "/",
        "BINTALLY_MODEL": "x",
    }
    settings = ServeSettings.from_environment(environment, model=MODEL, read_seconds=2.5)
    assert (settings.queue, settings.read_seconds, settings.model) == (3, 2.5, MODEL)
    assert settings == ServeSettings(model=MODEL, queue=3, read_seconds=2.5)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("BINTALLY_SERVE_QUEUE", "none"),
        ("BINTALLY_SERVE_QUEUE", "0"),
        ("BINTALLY_SERVE_LEVEL", "1.5"),
        ("BINTALLY_SERVE_COLOUR", "red"),
    ],
)
def test_what_cannot_be_meant_is_named(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=name) as caught:
        ServeSettings.from_environment({name: text}, model=MODEL)
    assert repr(text) in str(caught.value)
