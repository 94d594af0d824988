"""`make conformance`: Apache Kafka's tests against this broker, compared with Apache Kafka's own verdicts."""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import conformance_report as report
import kafka_test_harness as harness


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tests", default=".", help="a regular expression over 'group Class#method[parameters]'")
    parser.add_argument("--broker", help="the command that starts another broker; {config} is its properties file")
    parser.add_argument("--parallel", type=int, default=2, help="test classes at once")
    parser.add_argument("--keep", action="store_true", help="keep the brokers' folders")
    parser.add_argument("--save", action="store_true", help="write kafka-cy-results.tsv and docs/conformance.md")
    options = parser.parse_args()
    pattern = re.compile(options.tests)
    wanted = [e for e in harness.read_baseline() if e.binding and pattern.search(f"{e.group} {e.result.name}")]
    if not wanted:
        parser.error("no test matches --tests")
    broker = options.broker or harness.kafka_cy_command(sys.executable)
    folder = Path(tempfile.mkdtemp(prefix="conformance-"))
    started = time.monotonic()
    try:
        harness.prepare()
        methods = dict.fromkeys(e.result.method for e in wanted)
        verdicts = harness.run_classes(methods, broker, folder, options.parallel, keep=options.keep, progress=True)
    except harness.HarnessError as error:
        print(error, file=sys.stderr)
        return 2
    found = {verdict.name: verdict for verdict in verdicts}
    missing = 0
    for expectation in wanted:
        verdict = found.get(expectation.result.name)
        if verdict is None or verdict.verdict != "PASSED":
            missing += 1
            said = f"{verdict.verdict} {verdict.reason}" if verdict else "did not run"
            print(f"  {expectation.result.name}: {said}"[:300])
    print(
        f"{len(wanted) - missing} of {len(wanted)} tests that Apache Kafka passes; "
        f"{time.monotonic() - started:.0f} s; logs in {folder}"
    )
    if options.save:
        report.save_results(verdicts)
        report.write_page()
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
