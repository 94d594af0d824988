"""Records that Apache Kafka 4.3.1 wrote, kept in `golden_data/`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def golden(name: str) -> Any:
    return json.loads((Path(__file__).parent / "golden_data" / name).read_text())
