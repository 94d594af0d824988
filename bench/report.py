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


def best(results: dict[str, Any]) -> str:
    """CPU s/GB or us a request of each server's best round, and the resident memory under load."""
    lines = ["| load | Apache Kafka | floor | kafka-cy | of the floor | of Kafka |", "|---|---|---|---|---|---|"]
    for row in ROWS:
        if row.name not in results["kafka-cy"]:
            continue
        key = {"GB": "cpu_s_per_gb", "request": "cpu_us_per_request", "latency": "p50_us"}[row.unit]
        least = {name: min((each[key] for each in of.get(row.name, [])), default=0.0) for name, of in results.items()}
        kafka, floor, ours = least["Apache Kafka"], least["floor"], least["kafka-cy"]
        ratios = [f"{ours / each:.2f}x" if each else "-" for each in (floor, kafka)]
        lines.append(f"| {row.name} | {kafka:.2f} | {floor:.2f} | {ours:.2f} | {ratios[0]} | {ratios[1]} |")
    lines.append("\nResident memory at most under these loads, MiB: ")
    for name, of in results.items():
        most = max((each["resident_mib"] for runs in of.values() for each in runs), default=0)
        lines[-1] += f"{name} {most:.0f}; "
    return "\n".join(lines).rstrip("; ") + ".\n"


def growth(results: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    if "start" in results:
        start = results["start"]
        lines += [
            "## Start",
            "",
            f"From exec to the answer of ApiVersions: {start['start_ms']:.0f} ms (median of 20, {start['start_ms_min']:.0f} to "
            f"{start['start_ms_max']:.0f}),\nof it {start['start_cpu_ms']:.0f} ms CPU; resident when idle: "
            f"{start['idle_mib']:.0f} MiB.\n",
        ]
    if "untouched" in results:
        lines += [
            "## Cost beside what is not touched",
            "",
            "Microseconds of CPU a request, medians. One broker after the other, not interleaved: noise is up to half.",
            "",
        ]
        lines += ["| broker with | produce, one 100 B record | fetch, 64 KiB | CPU when idle |", "|---|---|---|---|"]
        for name, costs in results["untouched"].items():
            idle = f"{costs['idle_cpu'] * 100:.1f} %" if "idle_cpu" in costs else "-"
            lines.append(f"| {name} | {costs['produce']:.1f} | {costs['fetch']:.1f} | {idle} |")
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
    print(
        f"{time.strftime('%Y-%m-%d', time.gmtime())}; kafka-cy {version('kafka-cy')}, Apache Kafka 4.3.1 (KRaft, one node, "
        f"1 GB heap, warmed up); {machine()}, Python {platform.python_version()}.\n"
        f"{rounds} interleaved rounds of {measured_s:.1f} s a load, medians. Load generator and servers share the machine; "
        "load average at the end\n"
        f"{os.getloadavg()[0]:.0f}. Above 2 to 3 the machine had other work: rates and latencies then say little, CPU time "
        "more, its ratios most.\n"
    )
    print(
        "GB is of requests received (produce) or records sent (fetch). Ratios are of CPU time; in the latency row of p50.\n"
    )
    print(table(compared))
    print("The least CPU of any round (least disturbed by other work), same units:\n")
    print(best(compared))
    print("\n".join(growth(grown)))


if __name__ == "__main__":
    main()
