"""The frame of every page."""

import pytest
from jinja2 import UndefinedError

from bintally.pages.layout import PHOTO_NOTE, environment


def test_the_layout_refuses_a_page_that_lacks_its_photo_note() -> None:
    layout = environment("bintally.pages").get_template("layout.html.j2")
    assert "CC BY-NC-SA" in layout.render(photo_note=PHOTO_NOTE)
    assert "&lt;i&gt;" in layout.render(photo_note="<i>")
    with pytest.raises(UndefinedError):
        layout.render()
