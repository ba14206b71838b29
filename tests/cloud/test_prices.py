"""The table that comes along, and what is reckoned from it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bintally.cloud.prices import billed_usd, forecast, has_gpu, price_table


def test_the_table_says_when_and_whence() -> None:
    table = price_table()
    assert table.as_of
    assert table.source
    assert len(table.instances) > 20


def test_every_row_agrees_with_what_its_name_says() -> None:
    for name, row in price_table().instances.items():
        assert (row.gpus > 0) is has_gpu(name) is name.startswith(("ml.g", "ml.p"))


def test_within_a_family_more_costs_more() -> None:
    for name, row in price_table().instances.items():
        for other, larger in price_table().instances.items():
            if name.split(".")[1] == other.split(".")[1] and larger.vcpus > row.vcpus:
                assert larger.usd_hour > row.usd_hour


def test_a_forecast_by_hand() -> None:
    told = forecast("ml.m5.xlarge", count=2, hours=3, volume_gb=73, spot=True, usd_hour=0.5)
    assert told.usd_hour == 1.0
    assert told.at_most_usd == pytest.approx(2 * 3 * 0.5 + 0.14 * 73 * 2 * 3 / 730)
    assert told.spot_at_most_usd == pytest.approx(2 * 3 * 0.5 * 0.35 + 0.14 * 73 * 2 * 3 / 730)


def test_an_instance_that_is_not_in_the_table_has_no_price() -> None:
    told = forecast("ml.z9.huge", count=1, hours=1)
    assert (told.usd_hour, told.at_most_usd, told.spot_at_most_usd) == (None, None, None)
    assert "--price" in told.price_from
    assert billed_usd(10, count=1, instance_type="ml.z9.huge") is None


@given(count=st.integers(1, 9), hours=st.floats(0.1, 99), price=st.floats(0.01, 99))
def test_spot_never_costs_more_and_no_spot_has_no_such_figure(count: int, hours: float, price: float) -> None:
    spot = forecast("ml.m5.large", count=count, hours=hours, spot=True, volume_gb=9, usd_hour=price)
    assert spot.at_most_usd is not None
    assert spot.spot_at_most_usd is not None
    assert spot.spot_at_most_usd <= spot.at_most_usd
    assert forecast("ml.m5.large", count=count, hours=hours).spot_at_most_usd is None
