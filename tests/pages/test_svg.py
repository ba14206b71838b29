"""Plots inside a page."""

from matplotlib.figure import Figure

from bintally.pages.svg import to_svg


def test_an_svg_says_what_it_is_fits_its_place_and_keeps_its_ids_apart() -> None:
    def drawn(label: str) -> str:
        canvas = Figure(figsize=(2, 1))
        canvas.subplots().plot([0, 1], [0, 1])
        return to_svg(canvas, label)

    one, two = drawn("a <b>"), drawn("another")
    assert one.startswith('<svg viewBox="0 0 144 72" role="img" aria-label="a &lt;b&gt;">')
    assert one == drawn("a <b>")
    assert one.replace("a &lt;b&gt;", "another") != two
    assert "<metadata" not in one
    assert "<style" not in one
