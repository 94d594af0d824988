"""Starts kafka-cy with the feature levels that a test wants: `kafka_cy_broker.py KAFKA-CY ARGUMENT...` runs `KAFKA-CY server ...`.

The shim passes the levels in the environment: CONFORMANCE_METADATA_VERSION (such as 3.8-IV0, or one that only tests of
Apache Kafka know) and CONFORMANCE_FEATURES (name=level,name=level).
"""

from __future__ import annotations

import os
import sys

from kafka_cy.cluster.features import FEATURES, METADATA_VERSIONS


def initial_features() -> str:
    """The value of kafkacy.initial.features."""
    version = os.environ.get("CONFORMANCE_METADATA_VERSION", "")
    chosen = [f"metadata.version={version}"] if version in METADATA_VERSIONS else []
    known = {feature.name for feature in FEATURES}
    named = [each for each in os.environ.get("CONFORMANCE_FEATURES", "").split(",") if each.partition("=")[0] in known]
    return ",".join(chosen + named)


if __name__ == "__main__":
    program, *arguments = sys.argv[1:]
    levels = initial_features()
    os.execv(program, [program, *arguments, *(["--override", f"kafkacy.initial.features={levels}"] if levels else [])])
