"""One self-contained HTML page of what a project costs: days, services, jobs with spot's savings, what runs now.

The page loads nothing and holds no photo. Refuses to pass an estimate, a list price, or the whole account's costs for
the project's bill: each says what it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from markupsafe import Markup

from bintally.cloud.cost_bill import Bill, Outlook
from bintally.cloud.cost_jobs import JobCost, JobsTotal
from bintally.cloud.cost_plots import daily_svg
from bintally.cloud.cost_requests import PRICE_PER_REQUEST_USD, By, Scope
from bintally.cloud.cost_running import Running, usd_hour
from bintally.cloud.prices import price_table
from bintally.cloud.project import Project
from bintally.data.files import cannot_write, whole_file
from bintally.pages.layout import environment

_PARTS = {By.USAGE: "usage type", By.KIND: "tag bintally:kind", By.PROJECT: "tag bintally:project"}
_CENT = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """All that is known of a project's costs at one moment.

    Attributes:
        bill: None: Cost Explorer was not asked, or refused.
        outlook: None: likewise, or it knows too little.
        requests: to Cost Explorer, which takes its price for each.
        notes: what was missed, and why, in sentences.
    """

    project: Project
    when: datetime
    bill: Bill | None
    outlook: Outlook | None
    requests: int
    jobs: Sequence[JobCost]
    total: JobsTotal
    running: Sequence[Running]
    notes: Sequence[str]

    @property
    def asked_usd(self) -> float:
        """What Cost Explorer itself took."""
        return self.requests * PRICE_PER_REQUEST_USD


def write_page(path: Path, costs: Costs) -> None:
    """Write the page, whole or not at all.

    Raises:
        CannotWriteError: if it cannot be written.
    """
    text = render_page(costs)
    try:
        with whole_file(path) as part:
            part.write_text(text, encoding="utf-8")
    except OSError as error:
        raise cannot_write(path, error) from error


def render_page(costs: Costs) -> str:
    """The page as text."""
    bill = costs.bill
    units = list(bill.totals) if bill else []
    return (
        environment("bintally.cloud")
        .get_template("cost.html.j2")
        .render(
            costs=costs,
            bill=bill,
            scope=scope_text(costs.project, bill) if bill else "",
            part_title=_PARTS[bill.by] if bill else "",
            plots=[(unit, Markup(daily_svg(bill, unit))) for unit in units] if bill else [],  # noqa: S704 - our own SVG
            tables=[(unit, list(bill.parts(unit).items())) for unit in units] if bill else [],
            hourly=usd_hour(costs.running),
            table=price_table(),
            page_usd=PRICE_PER_REQUEST_USD,
            money=money,
            photo_note="There are no photos on this page.",
        )
    )


def scope_text(project: Project, bill: Bill) -> str:
    """Whose costs a bill's are, in words."""
    if bill.by is By.PROJECT:
        return f"all projects of the account in {project.region}, by tag"
    if bill.scope is Scope.TAG:
        return f"what bears the tag bintally:project={project.project}"
    return f"SageMaker, S3, ECR and CloudWatch of the whole account in {project.region}, this project's or not"


def money(amount: float | None, unit: str = "USD") -> str:
    """An amount for a person, with its currency where that is not USD; a dash where none is known.

    >>> money(12.3456), money(0.0042), money(-1), money(3, "CNY"), money(None)
    ('$12.35', '$0.0042', '-$1.00', '3.00 CNY', '-')
    """
    if amount is None:
        return "-"
    size = abs(amount)
    digits = f"{size:,.2f}" if size >= _CENT or size == 0 else f"{size:.2g}"
    sign = "-" if amount < 0 else ""
    return f"{sign}${digits}" if unit == "USD" else f"{sign}{digits} {unit}"
