"""What a project costs as tables and sentences for the terminal, as CSV, or as JSON."""

import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

import typer
from rich.console import Console
from rich.table import Table

from bintally.cloud.cost_bill import Bill, Outlook
from bintally.cloud.cost_jobs import JobCost, JobsTotal, total
from bintally.cloud.cost_page import Costs, money, scope_text
from bintally.cloud.cost_running import Running, usd_hour
from bintally.cloud.prices import price_table

_SHOWN = 20  # jobs in the terminal
_BARS = 40  # characters of the longest
_JOB_FIELDS = (
    "name",
    "kind",
    "status",
    "created",
    "instance_type",
    "instance_count",
    "spot",
    "seconds",
    "billable_seconds",
    "kept_warm_seconds",
    "usd_hour",
    "on_demand_usd",
    "cost_usd",
    "saved_usd",
    "saved_share",
)


def print_costs(costs: Costs) -> None:
    """All of it, for a person."""
    console = Console(highlight=False)
    if costs.bill is not None:
        _print_bill(console, costs, costs.bill)
    if costs.outlook is not None:
        typer.echo(_outlook_sentence(costs.outlook, costs.bill))
    if costs.jobs:
        console.print(_jobs_table(costs.jobs, f"Jobs of {costs.project.project}, all of them"))
    for sentence in job_sentences(costs.jobs):
        typer.echo(sentence)
    if costs.running:
        console.print(_running_table(costs.running))
    typer.echo(f"Runs by the hour: {money(usd_hour(costs.running)) if costs.running else 'nothing'}")


def print_csv(costs: Costs) -> None:
    """A row for each day, service and part; without a bill a row for each job."""
    if costs.bill is None:
        _jobs_csv(costs.jobs)
        return
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["day", "service", "part", "amount", "unit", "estimated"])
    for cost in costs.bill.costs:
        estimated = str(cost.estimated).lower()
        writer.writerow([cost.day.isoformat(), cost.service, cost.part, cost.amount, cost.unit, estimated])


def print_json(costs: Costs) -> None:
    """One object."""
    bill, ahead = costs.bill, costs.outlook
    said = {
        "project": costs.project.project,
        "region": costs.project.region,
        "asked": costs.when.isoformat(timespec="seconds"),
        "bill": _plain_bill(bill) if bill else None,
        "forecast": {**asdict(ahead), "start": str(ahead.start), "last": str(ahead.last)} if ahead else None,
        "jobs": [_plain_job(job) for job in costs.jobs],
        "jobs_total": _plain_total(costs.total),
        "running": [asdict(each) for each in costs.running],
        "running_usd_hour": usd_hour(costs.running),
        "notes": list(costs.notes),
    }
    typer.echo(json.dumps(said, ensure_ascii=False))


def print_jobs(jobs: Sequence[JobCost], *, given: bool, as_csv: bool, as_json: bool) -> None:
    """What some jobs cost; `given`: at a price that the user named."""
    if as_csv:
        _jobs_csv(jobs)
    elif as_json:
        said = {"jobs": [_plain_job(job) for job in jobs], "jobs_total": _plain_total(total(jobs))}
        typer.echo(json.dumps(said, ensure_ascii=False))
    else:
        Console(highlight=False).print(_jobs_table(jobs, None))
        for sentence in job_sentences(jobs, given=given):
            typer.echo(sentence)


def job_sentences(jobs: Sequence[JobCost], *, given: bool = False) -> list[str]:
    """What jobs cost and what spot saved, in words."""
    if not jobs:
        return ["No jobs."]
    together, table = total(jobs), price_table()
    source = "the price given with --price" if given else f"{table.source}, {table.as_of}; disks are not in it"
    said = [f"{len(jobs)} job{'s' * (len(jobs) != 1)}: {money(together.cost_usd)} ({source})"]
    if together.saved_share is not None:
        said.append(
            f"Spot saved {money(together.saved_usd)}, {together.saved_share:.0%} of the "
            f"{money(together.spot_on_demand_usd)} that {together.spot_jobs} spot "
            f"job{'s' * (together.spot_jobs != 1)} would have cost on demand"
        )
    if together.unknown:
        said.append(f"Not in it, for no price or no time is known: {', '.join(together.unknown)}. --price names one")
    if running := [job.name for job in jobs if job.running]:
        said.append(f"Not done yet, and not in it: {', '.join(running)}")
    return said


def _outlook_sentence(ahead: Outlook, bill: Bill | None) -> str:
    """The forecast, and with it the whole month where its days are known."""
    first, month = ahead.start.replace(day=1), ""
    if bill is not None and bill.period.start <= first:
        before = bill.spent(first, ahead.start, ahead.unit)
        month = f"; with what was spent before, {money(before + ahead.amount, ahead.unit)} for the month"
    return f"Forecast by Cost Explorer, {ahead.start} to {ahead.last}: {money(ahead.amount, ahead.unit)}{month}"


def _print_bill(console: Console, costs: Costs, bill: Bill) -> None:
    title = f"{bill.period.start} to {bill.period.last}: {scope_text(costs.project, bill)}"
    typer.echo(f"{title}{'' if bill.costs else ': nothing was spent'}.")
    for unit in bill.totals:
        console.print(_days_table(bill, unit))
        table = Table("service", bill.by.value, unit)
        table.columns[2].justify = "right"
        for (service, part), amount in bill.parts(unit).items():
            table.add_row(service, part, money(amount, unit))
        table.add_section()
        table.add_row("together", "", money(bill.totals[unit], unit))
        console.print(table)
    if bill.estimated:
        typer.echo("~ AWS may still change it.")
    typer.echo(f"Unblended cost, before credits, refunds and taxes. Cost Explorer took {money(costs.asked_usd)}.")


def _days_table(bill: Bill, unit: str) -> Table:
    """A bar for each day."""
    table = Table("day", unit, "", box=None)
    table.columns[1].justify = "right"
    sums = {day: sum(services.values()) for day, services in bill.days(unit).items()}
    most = max(sums.values())
    for day, amount in sums.items():
        bar = "█" * max(0, round(_BARS * amount / most)) if most > 0 else ""
        table.add_row(f"{day}{' ~' if day in bill.estimated else ''}", money(amount, unit), bar)
    return table


def _jobs_table(jobs: Sequence[JobCost], title: str | None) -> Table:
    heads = ("job", "status", "instances", "worked", "billed", "on demand", "cost", "saved")
    table = Table(*heads, title=title, title_justify="left")
    for column in table.columns[3:]:
        column.justify = "right"
    for job in jobs[:_SHOWN]:
        share = f" {job.saved_share:.0%}" if job.saved_share is not None else ""
        warm = f" + {job.kept_warm_seconds:,} s warm" if job.kept_warm_seconds else ""
        table.add_row(
            job.name,
            job.status,
            f"{job.instance_count} x {job.instance_type}{', spot' if job.spot else ''}",
            _seconds(job.seconds),
            f"{_seconds(job.billable_seconds)}{warm}",
            money(job.on_demand_usd),
            money(job.cost_usd),
            f"{money(job.saved_usd)}{share}" if job.spot else "",
            style="yellow" if job.running else None,
        )
    if len(jobs) > _SHOWN:
        table.caption = f"The newest {_SHOWN} of {len(jobs)}; the page, --json and --no-explorer --csv have all."
    return table


def _running_table(running: Sequence[Running]) -> Table:
    table = Table("what", "name", "on", "an hour", "", title="Running now", title_justify="left")
    table.columns[3].justify = "right"
    for each in running:
        table.add_row(each.what, each.name, each.on, money(each.usd_hour), each.note, style="yellow")
    return table


def _jobs_csv(jobs: Sequence[JobCost]) -> None:
    writer = csv.DictWriter(sys.stdout, _JOB_FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: "" if value is None else value for key, value in _plain_job(job).items()} for job in jobs)


def _plain_job(job: JobCost) -> dict[str, object]:
    created = job.created.isoformat(timespec="seconds") if job.created else None
    return {name: created if name == "created" else getattr(job, name) for name in _JOB_FIELDS}


def _plain_total(together: JobsTotal) -> dict[str, object]:
    return {**asdict(together), "saved_share": together.saved_share}


def _plain_bill(bill: Bill) -> dict[str, object]:
    return {
        "since": str(bill.period.start),
        "until": str(bill.period.last),
        "by": bill.by,
        "scope": bill.scope,
        "totals": bill.totals,
        "estimated": sorted(map(str, bill.estimated)),
        "requests": bill.requests,
        "costs": [{**asdict(cost), "day": str(cost.day)} for cost in bill.costs],
    }


def _seconds(seconds: int | None) -> str:
    return "-" if seconds is None else f"{seconds:,} s"
