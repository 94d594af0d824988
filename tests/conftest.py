"""Settings for all tests."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

#: They take longest, so they begin first: at the end, no process waits for another one with such a file.
SLOWEST = (
    "tests/installation/test_wheel.py",
    "tests/conformance/",
    "tests/adversity/test_crash_steps.py",
    "tests/interop/test_kafka_folder.py",
    "tests/adversity/test_power_loss.py",
    "tests/interop/test_compaction.py",
)

# A shell that runs the tests in the background ignores SIGINT. The processes that the tests start would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine must not fail a test. In CI, the tests use the same examples in every run.
settings.register_profile(
    "tests", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=bool(os.environ.get("CI"))
)
settings.load_profile("tests")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(SLOWEST))
