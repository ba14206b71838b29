"""One self-contained HTML page of a profile: where the time went, which operators took it, memory, and what to change.

The page loads nothing. Refuses to show a share without what it is a share of.
"""

from pathlib import Path

from markupsafe import Markup

from bintally.data.files import whole_file
from bintally.pages.layout import environment
from bintally.training.profile import plots
from bintally.training.profile.phases import COMPUTING, LABELS, LOADING, Phase
from bintally.training.profile.result import PAGE_NAME, Profile
from bintally.training.profile.window import TRACE_NAME

_NO_PHOTOS = "There are no photos on this page."
_GROUPS = {
    "Loading": LOADING,
    "Computing": COMPUTING,
    "Validation": (Phase.VALIDATION,),
    "Idle": (Phase.IDLE,),
}


def write_page(run: Path, profile: Profile) -> None:
    """Write `profile.html` into the run's folder, whole or not at all."""
    page = render_page(profile, trace=(run / TRACE_NAME).exists())
    with whole_file(run / PAGE_NAME) as part:
        part.write_text(page, encoding="utf-8")


def render_page(profile: Profile, *, trace: bool) -> str:
    """The page as text; `trace`: there is one beside it."""
    return (
        environment("bintally.training.profile")
        .get_template("profile.html.j2")
        .render(
            profile=profile,
            work=profile.work,
            machine=profile.machine,
            tiles=[(name, profile.share(*phases)) for name, phases in _GROUPS.items()],
            rows=[
                (
                    LABELS[phase],
                    plots.COLOURS[phase],
                    seconds,
                    seconds / profile.plain_seconds,
                    _per_step(profile, phase),
                )
                for phase, seconds in profile.phases.items()
                if seconds > 0
            ],
            shares=Markup(plots.shares_svg(profile)),  # noqa: S704 - our own SVG
            steps=Markup(plots.steps_svg(profile)),  # noqa: S704 - our own SVG
            memory=Markup(plots.memory_svg(profile.memory)),  # noqa: S704 - our own SVG
            peak=max(sample.rss_mib for sample in profile.memory),
            gpu_peak=max(sample.gpu_peak_mib for sample in profile.memory),
            trace_name=TRACE_NAME if trace else "",
            photo_note=_NO_PHOTOS,
        )
    )


def _per_step(profile: Profile, phase: Phase) -> float | None:
    """Milliseconds of a plain step; None: it does not occur in steps."""
    plain = [step.seconds.get(phase, 0.0) for step in profile.steps if not step.traced]
    return 1e3 * sum(plain) / len(plain) if plain and any(plain) else None
