"""The frame of a page: its style, its licence note, and the Jinja environment that renders it.

Refuses pages that load anything, and templates that name what they were not given.
"""

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

PHOTO_NOTE = (
    "The photos on this page belong to whoever published the data source. Those of the Amazon Bin Image Dataset are "
    "© Amazon, CC BY-NC-SA 3.0 US: pass this page on for non-commercial use only, credited and under the same licence."
)
"""Under which licence a page's photos are; every page with photos says so."""


def environment(package: str) -> Environment:
    """Renders the templates of `package`, which extend `layout.html.j2` and are given `photo_note`."""
    return Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("bintally.pages")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
