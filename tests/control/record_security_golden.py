"""Records `golden_data/security-answers.json` again from Apache Kafka 4.3.1: python tests/control/record_security_golden.py.

By the name of each case: the response in hex, without its header; null if Kafka closes the connection.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "interop"), str(HERE.parent / "records"), str(HERE.parent.parent)]

from apache_kafka import start_apache_kafka, wait_for_answers  # noqa: E402
from differential_cases import Case, State  # noqa: E402
from differential_security import SECURITY  # noqa: E402
from kio.index import load_request_schema, load_response_schema  # noqa: E402
from kio.serial import entity_writer  # noqa: E402
from raw_client import API_VERSIONS, Closed, RawClient, build  # noqa: E402

from kafka_cy.testing.broker import free_ports  # noqa: E402

SETTLE_S = 0.4


def answers(client: RawClient) -> dict[str, str | None]:
    """Kafka's response to each case, in this order."""
    state, found = State([]), {}
    for case in SECURITY:
        values = case.values(state) if callable(case.values) else case.values
        if case.save is not None:
            case.save(state, client.request(case.api_key, case.version, values))
        found[case.name] = _answer(client, case, values)
        if case.settle:
            time.sleep(SETTLE_S)
    return found


def _answer(client: RawClient, case: Case, values: dict[str, Any]) -> str | None:
    schema, body = load_request_schema(case.api_key, case.version), io.BytesIO()
    entity_writer(schema)(body, build(schema, values))
    try:
        answer = client.request_bytes(case.api_key, case.version, body.getvalue(), flexible=bool(schema.__flexible__))
    except Closed:
        return None
    tagged = load_response_schema(case.api_key, case.version).__flexible__ and case.api_key != API_VERSIONS
    return answer[1:].hex() if tagged else answer.hex()


def main() -> None:
    """Start a node, ask, write the file."""
    with tempfile.TemporaryDirectory() as folder:
        port, controller_port = free_ports(2)
        process = start_apache_kafka(Path(folder), port, controller_port, {})
        try:
            wait_for_answers(f"127.0.0.1:{port}")
            found = answers(RawClient(f"127.0.0.1:{port}"))
        finally:
            process.kill()
            process.wait()
    (HERE / "golden_data" / "security-answers.json").write_text(json.dumps(found, indent=0, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
