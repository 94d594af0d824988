"""System properties that Kafka's start scripts would give a JVM: `-Dname=value` among the words of KAFKA_OPTS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

JAAS_FILE: Final = "java.security.auth.login.config"

#: Variables whose words a JVM gets as options, the strongest last.
_OPTION_VARIABLES: Final = ("JAVA_TOOL_OPTIONS", "KAFKA_OPTS")


def java_property(environment: Mapping[str, str], name: str) -> str | None:
    """The value of a system property; None if it is not set."""
    option, found = f"-D{name}=", None
    for variable in _OPTION_VARIABLES:
        for word in environment.get(variable, "").split():
            word = word.strip("\"'")
            if word.startswith(option):
                found = word.removeprefix(option)
    return found


def jaas_file(environment: Mapping[str, str]) -> str | None:
    """The JAAS file that a JVM would read."""
    found = java_property(environment, JAAS_FILE)
    return None if found is None else found.removeprefix("=").removeprefix("file:") or None
