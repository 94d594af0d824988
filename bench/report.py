"""Writes RESULTS.md from the JSON of compare.py and growth.py.

    python bench/report.py COMPARE.json GROWTH.json > bench/RESULTS.md
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from compare import ROWS, print_table


def machine() -> str:
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} vCPUs, {gib:.0f} GiB memory, Linux {platform.release().split('-')[0]}"


def table(results: dict[str, Any]) -> str:
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        print_table([row for row in ROWS if row.name in results["kafka-cy"]], results)
    return text.getvalue()


def growth(results: dict[str, Any]) -> list[str]:
    lines = []
    if "start" in results:
        start = results["start"]
        lines += ["## Start", "", f"From exec to the answer of ApiVersions: {start['start_ms']:.0f} ms (median of 20, "]
        lines[-1] += f"at most {start['start_ms_max']:.0f}); resident when idle: {start['idle_mib']:.0f} MiB.\n"
    if "untouched" in results:
        lines += ["## Cost does not grow with what is not touched", "", "Microseconds of CPU a request, medians.", ""]
        lines += ["| broker with | produce, one 100 B record | fetch, 64 KiB |", "|---|---|---|"]
        for name, costs in results["untouched"].items():
            lines.append(f"| {name} | {costs['produce']:.1f} | {costs['fetch']:.1f} |")
        lines.append("")
    if "fsync" in results:
        lines += ["## fsync before every answer (`log.flush.interval.messages=1`), group commit", ""]
        lines += ["| producers | requests/s | p50 ms | p99 ms | CPU us a request |", "|---|---|---|---|---|"]
        for name, each in results["fsync"].items():
            if isinstance(each, dict):
                lines.append(
                    f"| {name} | {each['requests_per_s']:.0f} | {each['p50_us'] / 1000:.2f} | "
                    f"{each['p99_us'] / 1000:.2f} | {each['cpu_us_per_request']:.1f} |"
                )
            else:
                lines.append(f"\n{name}: {each}")
        lines.append("")
    return lines


def main() -> None:
    compared = json.loads(Path(sys.argv[1]).read_text())
    grown = json.loads(Path(sys.argv[2]).read_text()) if len(sys.argv) > 2 else {}
    rounds = max(len(each) for each in compared["kafka-cy"].values())
    measured_s = sum(each["seconds"] for each in next(iter(compared["kafka-cy"].values()))) / rounds
    print("# Measured\n")
    print(f"{time.strftime('%Y-%m-%d', time.gmtime())}; kafka-cy {version('kafka-cy')}, Apache Kafka 4.3.1 (KRaft, one ")
    print(f"node, 1 GB heap, warmed up); {machine()}, Python {platform.python_version()}. Rounds: {rounds}, interleaved; ")
    print(f"{measured_s:.1f} s a load; medians. Load generator and brokers share the machine, which was also busy with ")
    print("other work if its owner says so below: judge by CPU time and by the ratios of one run.\n")
    print("GB is of requests received (produce) or records sent (fetch). Ratios are of CPU time, in the latency row of p50.\n")
    print(table(compared))
    print("\n".join(growth(grown)))


if __name__ == "__main__":
    main()
