"""Wraps the native generator as a `measure.Load`: runs it in a thread and describes how it ended."""

from __future__ import annotations

import contextlib
import resource
import threading
from typing import Any

from kafka_cy.bench.brokers import BrokerError, Target
from kafka_cy.bench.histogram import LatencyHistogram
from kafka_cy.bench.load_options import LoadOptions, OptionError
from kafka_cy.bench.measure import Ending, Load
from kafka_cy.bench.native_load import NativeLoad

SPARE_DESCRIPTORS = 64
DESCRIPTORS = 30_000


class NativeRunner:
    """Runs a NativeLoad in a thread. `kept` (idle sockets) stays open as long as this object lives."""

    def __init__(self, load: NativeLoad, kept: list[Any] | None = None) -> None:
        self.load = load
        self._kept = kept
        self._thread = threading.Thread(target=load.run, name="native-load", daemon=True)

    def start(self) -> None:
        self._thread.start()
        while self.load.status == "ready":
            self._thread.join(0.001)

    def measured_from_ns(self) -> int:
        return self.load.measured_from_ns

    def wait(self, timeout_s: float) -> bool:
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def stop(self) -> None:
        self.load.stop()

    def counters(self) -> tuple[int, int, int, int]:
        return self.load.counters()

    def histogram(self) -> LatencyHistogram:
        return self.load.histogram()

    def ending(self) -> Ending:
        status = self.load.status
        closed = status in ("closed", "silent")
        return Ending(self.load.finished_ns, self.load.cpu_s, self._error(status), closed)

    def _error(self, status: str) -> str | None:
        if status == "closed":
            return "The broker closed a connection."
        if status == "silent":
            return "The broker sent no response for half a minute."
        if status == "confused":
            return "The broker sent a response that belongs to no request."
        requests, _, _, errors = self.load.counters()
        if not errors:
            return None
        if self.load.unanswered:
            return f"{self.load.unanswered} requests that were due got no response."
        code, count = max(self.load.error_codes().items(), key=lambda each: each[1])
        return f"{count} of {requests} requests got the error {error_name(code)}."


def error_name(code: int) -> str:
    """Kafka's name for an error code."""
    from kafka_cy.protocol.errors import ErrorCode

    return {each.value: each.name for each in ErrorCode if each}.get(code, "UNEXPECTED_RESPONSE")


def security_protocol(target: Target, options: LoadOptions) -> str:
    """The security protocol that the clients of a load use."""
    properties = {**target.client_properties, **options.producer_properties, **options.consumer_properties}
    return str(properties.get("security.protocol", "PLAINTEXT"))


def new_native_load(
    target: Target, options: LoadOptions, *, end_to_end: bool = False, records_max: int = 0
) -> NativeLoad:
    """A load with the times and rates from the options, still without connections. Raises OptionError."""
    protocol = security_protocol(target, options)
    if protocol.lower() != "plaintext":
        raise OptionError(f"The native generator supports only PLAINTEXT, not {protocol}: use --generator librdkafka.")
    if options.acks == 0:
        raise OptionError("The native generator measures responses, and acks=0 has none: use --generator librdkafka.")
    return NativeLoad(
        duration_s=options.duration_s,
        warm_up_s=options.warm_up_s,
        rate_per_s=options.requests_per_s(),
        requests_max=0 if records_max else options.requests_max(),
        records_max=records_max,
        end_to_end=end_to_end,
    )


def run_unmeasured(runner: Load, failure: str) -> None:
    """Run a load without measuring it. Raises BrokerError, with `failure` at the start of the text."""
    runner.start()
    try:
        while not runner.wait(0.2):
            pass
    finally:
        runner.stop()
    error = runner.ending().error
    if error is not None:
        raise BrokerError(f"{failure}: {error}")


def raise_descriptor_limit(wanted: int) -> None:
    """Allow this process (and brokers that it starts from now on) `wanted` open files. Raises BrokerError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted += SPARE_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise BrokerError(f"This needs {wanted} open files, but the limit is {hard} (ulimit -Hn).")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def raise_descriptor_limit_as_far_as_it_goes() -> None:
    """Allow thousands of connections in this process and in the brokers that it starts."""
    for wanted in (DESCRIPTORS, DESCRIPTORS // 3, 4000):
        with contextlib.suppress(BrokerError):
            raise_descriptor_limit(wanted)
            return
