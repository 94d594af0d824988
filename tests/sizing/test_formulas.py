"""The formulas: standard results, which outputs grow with which inputs, and independence of units."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_cy.sizing import formulas
from kafka_cy.sizing.inputs import INPUT_FIELDS, SizingInputs, parse_inputs
from kafka_cy.sizing.plan import Plan, fill_curve, make_plan
from kafka_cy.sizing.units import UNITS, SizingError, format_amount, parse_amount

loads = st.fixed_dictionaries(
    {
        "messages_per_day": st.floats(1e3, 1e12),
        "message_bytes": st.floats(10, 1e6),
        "retention_days": st.floats(0.01, 365),
        "replication_factor": st.integers(1, 5),
        "compression_ratio": st.floats(1, 10),
        "peak_to_mean": st.floats(1, 20),
        "consumer_fan_out": st.floats(0, 20),
        "topics": st.integers(1, 500),
        "cached_lag_seconds": st.floats(0, 1e5),
    }
)


def brokers_of_the_course(messages: float, size: float, days: float, copies: int, disk: float) -> int:
    """The standard formula, for comparison."""
    return math.ceil(messages * size * days * copies / (disk * 0.7) * (1 - 1e-9))


def test_the_formula_of_courses() -> None:
    # 10 billion messages of 1 kB, kept for 7 days in 3 copies, on brokers of 10 TB: 210 TB on 7 TB a broker.
    assert formulas.textbook_brokers(10e9, 1000, 7, 3, 10e12) == 30
    assert formulas.textbook_brokers(10e9, 1000, 7, 3, 10e12, disk_fill=1.0) == 21


@given(loads)
def test_the_plan_contains_it_and_never_asks_for_less_without_compression(load: dict[str, float]) -> None:
    plan = make_plan(SizingInputs(**{**load, "compression_ratio": 1.0}))
    taught = brokers_of_the_course(
        load["messages_per_day"], load["message_bytes"], load["retention_days"], int(load["replication_factor"]), 1e12
    )
    assert plan["by the textbook formula"] == taught
    assert plan["brokers needed"] >= taught


@given(loads)
def test_storage_is_the_textbook_without_what_it_leaves_out(load: dict[str, float]) -> None:
    load = {**load, "compression_ratio": 1.0, "index_interval_bytes": 1e15, "segment_bytes": 1024, "partitions": 1}
    plan = make_plan(SizingInputs(**load))
    plain = load["messages_per_day"] * load["message_bytes"] * load["retention_days"] * load["replication_factor"]
    assert plan["storage"] == pytest.approx(plain, abs=1024 * load["replication_factor"] * 1.01, rel=1e-9)


GROWS = {
    "messages_per_day": ("storage", "brokers needed", "network in", "network out", "page cache", "partitions"),
    "message_bytes": ("storage", "brokers needed", "network in", "network out", "page cache", "partitions"),
    "retention_days": ("storage", "brokers needed", "segments a replica"),
    "replication_factor": ("storage", "brokers needed", "network in", "network out", "page cache"),
    "peak_to_mean": ("brokers needed", "network in", "network out", "page cache", "partitions"),
    "consumer_fan_out": ("brokers needed", "network out"),
    "cached_lag_seconds": ("brokers needed", "page cache"),
}


@pytest.mark.parametrize("name", GROWS)
@given(load=loads, factor=st.integers(1, 4))
def test_more_of_an_input_never_needs_less(name: str, load: dict[str, float], factor: int) -> None:
    if name == "replication_factor" or name == "retention_days":
        factor = min(factor, 2)
    less = make_plan(SizingInputs(**load))
    more = make_plan(SizingInputs(**{**load, name: load[name] * factor}))
    for figure in GROWS[name]:
        if figure == "segments a replica" and more["partitions"] != less["partitions"]:
            continue  # with more partitions, each has fewer segments
        assert more[figure] >= less[figure] * (1 - 1e-9), figure


@given(loads)
def test_compression_never_needs_more(load: dict[str, float]) -> None:
    packed = make_plan(SizingInputs(**load))
    plain = make_plan(SizingInputs(**{**load, "compression_ratio": 1.0}))
    for figure in ("storage", "brokers needed", "network in", "network out", "page cache"):
        assert packed[figure] <= plain[figure] * (1 + 1e-9)


@given(loads)
def test_brokers_hold_what_the_plan_says(load: dict[str, float]) -> None:
    inputs = SizingInputs(**load)
    plan = make_plan(inputs)
    assert plan["storage a broker"] <= plan["usable disk a broker"] * (1 + 1e-6)
    assert plan["page cache a broker"] <= (inputs.memory_bytes - inputs.process_memory_bytes) * (1 + 1e-6)
    left = plan["brokers needed"] - min(inputs.broker_failures, inputs.replication_factor - 1)
    assert plan["network in"] <= left * inputs.network_bytes_per_second * inputs.busy_fill * (1 + 1e-6)
    assert plan["network out"] <= left * inputs.network_bytes_per_second * inputs.busy_fill * (1 + 1e-6)
    assert plan["partitions"] >= plan["brokers needed"]
    assert not [warning for warning in plan.warnings if "too few" in warning or "cannot be spread" in warning]


@given(loads)
def test_the_unit_that_an_amount_is_written_in_does_not_matter(load: dict[str, float]) -> None:
    written = {
        "messages_per_day": f"{load['messages_per_day'] / 1000!r}k",
        "message_bytes": f"{load['message_bytes'] / 1024!r} KiB",
        "retention_days": f"{load['retention_days'] * 24!r}h",
        "cached_lag_seconds": f"{load['cached_lag_seconds'] * 1000!r}ms",
        "disk_bytes": "1TB",
        "disk_fill": "70%",
        "network_bytes_per_second": "10Gbit/s",
    }
    plain = make_plan(SizingInputs(**load))
    united = make_plan(SizingInputs(**{**load, **parse_inputs(written)}))
    for figure in ("storage", "network in", "page cache", "peak a partition"):
        if plain["partitions"] == united["partitions"]:
            assert united[figure] == pytest.approx(plain[figure], rel=1e-9)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("bytes", "1.5 KiB", 1536),
        ("bytes", "2TB", 2e12),
        ("bytes", "1,024", 1024),
        ("bytes/s", "10Gbit/s", 1.25e9),
        ("bytes/s", "100MB/s", 1e8),
        ("count", "1.5M", 1.5e6),
        ("days", "12h", 0.5),
        ("days", "2w", 14),
        ("seconds", "10m", 600),
        ("fraction", "70%", 0.7),
        ("ratio", "2.5x", 2.5),
    ],
)
def test_amounts(kind: str, text: str, value: float) -> None:
    assert parse_amount("it", kind, text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "x", "-1", "1 parsec", "1e999", "nan", "1 2", None, True, [1], "١"])
def test_what_is_no_amount_is_said_in_a_sentence(text: object) -> None:
    for kind in UNITS:
        with pytest.raises(SizingError, match=r"^disk must be .*\.$"):
            parse_amount("disk", kind, text)


@given(st.sampled_from(sorted(UNITS)), st.floats(0, 1e17))
def test_every_number_can_be_shown(kind: str, value: float) -> None:
    assert format_amount(kind, value)
    assert format_amount(kind, float("inf")) in ("never", "unlimited")


@given(st.floats(0, 1e15), st.floats(1, 1e15), st.integers(-(10**12), 10**12))
def test_days_until_full(used: float, full: float, growth: float) -> None:
    days = formulas.days_until_full(used, full, growth)
    if used >= full:
        assert days == 0
    elif growth <= 0:
        assert days == math.inf
    else:
        assert used + growth * days == pytest.approx(full)


def test_days_until_full_of_the_plan_is_where_its_curve_crosses() -> None:
    inputs = SizingInputs(messages_per_day=1e9, message_bytes=1000, growth_per_year=1.0, brokers=40)
    plan = make_plan(inputs)
    days = plan.days_until_full()
    slack = plan["expired, not yet deletable"]
    around = fill_curve(inputs, slack, np.array([days - 0.1, days + 0.1]))
    full = 40 * inputs.disk_bytes * inputs.disk_fill
    assert around[0] < full <= around[1]


@given(loads, st.floats(0, 3), st.floats(0, 1500))
def test_the_brokers_suffice_for_the_time_planned_for(load: dict[str, float], growth: float, days: float) -> None:
    plan = make_plan(SizingInputs(**load, growth_per_year=growth, plan_for_days=days))
    assert plan.days_until_full() >= days
    assert plan["messages a day"] == pytest.approx(load["messages_per_day"] * (1 + growth) ** (days / 365))
    now = make_plan(SizingInputs(**load))
    for figure in ("storage", "brokers needed", "network in", "network out", "page cache", "partitions"):
        assert plan[figure] >= now[figure] * (1 - 1e-9), figure


@pytest.mark.parametrize("growth", [0.0, 5e-324, 1e-12, 1e-9, 1e-6])
def test_brokers_that_just_suffice_are_not_full(growth: float) -> None:
    """With hardly any growth, the curve stays below what the brokers hold, without a rounding error across it."""
    load = {"messages_per_day": 16559736252.0, "message_bytes": 186012.0, "retention_days": 1.0, "replication_factor": 1}
    plan = make_plan(SizingInputs(**load, growth_per_year=growth, plan_for_days=2.0))
    assert plan.days_until_full() >= 2.0
    exact = make_plan(SizingInputs(messages_per_day=7e8, message_bytes=1000, retention_days=10, replication_factor=1))
    assert exact.days_until_full() == math.inf


def test_measured_growth_ends_with_retention() -> None:
    """A young cluster grows until retention deletes: then it holds the storage that the plan states."""
    load = {"messages_per_day": 1e9, "message_bytes": 1000}
    young = make_plan(SizingInputs(**load, used_bytes=1e12, growth_bytes_per_day=3e12))
    assert young.days_until_full() == math.inf and young.warnings == []
    few = make_plan(SizingInputs(**load, brokers=3, used_bytes=1e12, growth_bytes_per_day=0.55e12))
    assert few.days_until_full() == pytest.approx((3 * 0.7e12 - 1e12) / 0.55e12)
    assert warned(few, "too few brokers") and warned(few, "At the measured growth")


def test_growth_beyond_retention_is_warned_of() -> None:
    inputs = SizingInputs(messages_per_day=1e6, message_bytes=100, used_bytes=600e9, growth_bytes_per_day=10e9)
    plan = make_plan(inputs)
    assert plan.warnings == [
        "At the measured growth, the disks of 3 brokers are full after 150 d, before the 365 d planned for. "
        "If it goes on, 7 brokers are needed for storage."
    ]


def test_measured_growth_gives_the_days() -> None:
    inputs = SizingInputs(
        messages_per_day=1e6, message_bytes=100, brokers=3, used_bytes=600e9, growth_bytes_per_day=10e9
    )
    assert make_plan(inputs).days_until_full() == pytest.approx((3 * 700e9 - 600e9) / 10e9)


def test_curves_take_the_same_formulas() -> None:
    days = np.linspace(0, 30, 7)
    curve = formulas.storage_bytes(np.full_like(days, 1e9), days, 0.0, np.zeros_like(days), 3)
    assert list(curve) == [formulas.storage_bytes(1e9, float(day), 0.0, 0.0, 3) for day in days]


def test_zones_cost_what_crosses_them() -> None:
    # 3 zones, 3 copies, 1 reader: two copies cross zones, and producers and readers do so in two of three cases.
    assert formulas.cross_zone_bytes_per_day(3.0, 3, 1.0, 3) == pytest.approx(3 * (2 / 3 * 2 + 2))
    assert formulas.cross_zone_bytes_per_day(3.0, 3, 1.0, 1) == 0
    priced = make_plan(
        SizingInputs(
            messages_per_day=1e9, message_bytes=1000, zones=3, cross_zone_gb_price=0.02, broker_month_price=100
        )
    )
    assert priced["traffic between zones"] == pytest.approx(1000 * (4 / 3 + 2) * 365 / 12 * 0.02)
    assert priced["broker machines"] == priced["brokers needed"] * 100


def warned(plan: Plan, word: str) -> bool:
    return any(word in warning for warning in plan.warnings)


def test_limits_are_warned_of() -> None:
    load = {"messages_per_day": 1e10, "message_bytes": 1000}
    assert warned(make_plan(SizingInputs(**load, brokers=2)), "too few")
    assert warned(make_plan(SizingInputs(**load, partitions=1)), "cannot be spread")
    assert warned(make_plan(SizingInputs(**load, brokers=3, cached_lag_seconds=86_400)), "page cache")
    assert warned(make_plan(SizingInputs(**load, file_descriptors=10)), "file descriptors")
    assert warned(make_plan(SizingInputs(**load, partitions=100_000, brokers=5)), "partitions_per_broker")


@pytest.mark.parametrize("name", sorted(INPUT_FIELDS))
def test_every_input_is_bounded(name: str) -> None:
    load = {"messages_per_day": 1e6, "message_bytes": 100}
    with pytest.raises(SizingError, match=rf"^{name} must be between .*\.$"):
        SizingInputs(**{**load, name: 1e30})
    if INPUT_FIELDS[name].metadata["whole"]:
        with pytest.raises(SizingError, match=rf"^{name} must be (a whole number|between).*\.$"):
            SizingInputs(**{**load, name: 1.5})
