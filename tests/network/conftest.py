"""Fixtures of the network tests; the harness is in conftest_network.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from conftest_network import authority, harness, partitions, probe

__all__ = ["authority", "harness", "partitions", "probe"]
