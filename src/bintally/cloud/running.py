"""What each thing that a project made costs by the hour as it is, by the table of prices.

Refuses to guess: what has no price in the table, or may not be looked at, has none. A tuning job costs what its jobs
cost, which are told themselves; an endpoint without instances costs while it answers.
"""

from bintally.cloud.cost_running import price_endpoint
from bintally.cloud.job_kinds import JOB_KINDS
from bintally.cloud.job_state import read_state
from bintally.cloud.made import Made
from bintally.cloud.names import Kind
from bintally.cloud.prices import price_of
from bintally.cloud.session import Cloud
from bintally.errors import CloudError


def usd_hour(cloud: Cloud, made: Made) -> float | None:
    """What it costs in an hour, in USD; 0 where nothing runs; None where that is not known."""
    if not made.costs or made.kind is None:
        return 0.0
    if made.kind is Kind.TUNE:
        return 0.0
    try:
        if made.kind is Kind.ENDPOINT:
            return _endpoint(cloud, made.name)
        kind = JOB_KINDS[made.kind]
        state = read_state(kind, cloud.send(kind.describe(made.name)))
    except CloudError:
        return None
    price = price_of(state.instance_type)
    return None if price is None else price * state.instance_count


def _endpoint(cloud: Cloud, name: str) -> float | None:
    prices = [each.usd_hour for each in price_endpoint(cloud, name) if not each.by_request]
    known = [price for price in prices if price is not None]
    return sum(known) if len(known) == len(prices) else None
