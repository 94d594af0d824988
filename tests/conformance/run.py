"""`make conformance`: Apache Kafka's tests against this broker, compared with Apache Kafka's own verdicts.

It fails if a test does not pass that passed when the results were saved last; with --broker, if any test does not pass.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import conformance_report as report
import kafka_test_harness as harness
import reference_broker


def main() -> int:
    options = parse_options()
    harness.CLASS_LIMIT_S = options.class_limit_s
    try:
        harness.prepare()
        return run_apache_kafka(options) if options.apache_kafka else run_broker(options)
    except harness.HarnessError as error:
        print(error, file=sys.stderr)
        return 2


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tests", default=".", help="a regular expression over 'group Class#method[parameters]'")
    parser.add_argument("--broker", help="the command that starts another broker; {config} is its properties file")
    parser.add_argument(
        "--apache-kafka",
        action="store_true",
        help="run whole classes on Apache Kafka itself, for its own verdicts; --tests is then over 'group Class'",
    )
    parser.add_argument("--parallel", type=int, default=2, help="test classes at once")
    parser.add_argument("--class-limit-s", type=float, default=harness.CLASS_LIMIT_S, help="seconds for a test class")
    parser.add_argument("--keep", action="store_true", help="keep the brokers' folders")
    parser.add_argument("--save", action="store_true", help="store the verdicts and write docs/conformance.md")
    return parser.parse_args()


def run(tests: Sequence[str], broker: str, options: argparse.Namespace) -> list[harness.Verdict]:
    """Run test methods or whole classes, and print how many pass and where the logs are."""
    folder, started = Path(tempfile.mkdtemp(prefix="conformance-")), time.monotonic()
    verdicts = harness.run_classes(tests, broker, folder, options.parallel, keep=options.keep, progress=True)
    print(f"{time.monotonic() - started:.0f} s; logs in {folder}")
    return verdicts


def run_apache_kafka(options: argparse.Namespace) -> int:
    pattern, groups = re.compile(options.tests), harness.read_classes()
    wanted = [name for name, group in groups.items() if pattern.search(f"{group} {name}")]
    verdicts = run(wanted, reference_broker.command(), options)
    if options.save:
        reference_broker.save_verdicts(groups, verdicts)
        report.write_page()
    return 0


def run_broker(options: argparse.Namespace) -> int:
    pattern = re.compile(options.tests)
    wanted = [e for e in harness.read_baseline() if e.binding and pattern.search(f"{e.group} {e.result.name}")]
    if not wanted:
        print("no test matches --tests", file=sys.stderr)
        return 2
    broker = options.broker or harness.kafka_cy_command(sys.executable)
    verdicts = run(list(dict.fromkeys(e.result.method for e in wanted)), broker, options)
    found = {verdict.name: verdict for verdict in verdicts}
    missing = {e.result.name: found.get(e.result.name) for e in wanted}
    missing = {name: verdict for name, verdict in missing.items() if verdict is None or verdict.verdict != "PASSED"}
    for name, verdict in missing.items():
        print(f"  {name}: {f'{verdict.verdict} {verdict.reason}' if verdict else 'did not run'}"[:300])
    print(f"{len(wanted) - len(missing)} of {len(wanted)} tests that Apache Kafka passes")
    if options.broker:
        return 1 if missing else 0
    lost = report.lost(missing)
    for name in lost:
        print(f"  passed before: {name}")
    if options.save:
        report.save_results(verdicts)
        report.write_page()
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
