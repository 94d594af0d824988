"""`python slow_store_broker.py GATE KEY=VALUE...`: a broker whose metadata store cannot write while the file GATE exists."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from kafka_cy.cluster.embedded_store import EmbeddedStore
from kafka_cy.server.main import run

gate = Path(sys.argv[1])
persist = EmbeddedStore._persist


def persist_later(store: EmbeddedStore, changes: Any) -> None:
    while gate.exists():
        time.sleep(0.005)  # as a disk that does not answer
    persist(store, changes)


EmbeddedStore._persist = persist_later  # type: ignore[method-assign]
sys.exit(run(None, dict(each.split("=", 1) for each in sys.argv[2:])))
