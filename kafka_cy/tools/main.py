"""The command `kafka-cy`.

`kafka-cy server` is parsed by hand: click (and the rest of the tools) would double the broker's start time. All other
commands live in `kafka_cy.tools.cli`.
"""

from __future__ import annotations

import sys

SERVER_USAGE = """\
Usage: kafka-cy server [CONFIG] [--override KEY=VALUE]... [--log-level LEVEL]

Run a broker. CONFIG is a Kafka server.properties; without one: 127.0.0.1:9092,
data under ./data, metrics on 127.0.0.1:9404, topics created on demand.

Options:
  --override KEY=VALUE  Set a key of the configuration; may be repeated.
  --log-level LEVEL     debug, info (default), warning or error.
  --help                Show this message and exit.
"""
LOG_LEVELS = ("debug", "info", "warning", "error")
EXIT_USAGE = 2


class UsageError(Exception):
    """A command line that cannot be understood; the text is one sentence."""


def parse_server_arguments(arguments: list[str]) -> tuple[str | None, dict[str, str], str]:
    """(config path, overrides, log level) of the words after `server`; raises UsageError."""
    config_path: str | None = None
    overrides: dict[str, str] = {}
    log_level = "info"
    words = iter(arguments)
    for word in words:
        option, equals, value = word.partition("=")
        if option in ("--override", "--log-level"):
            if not equals:
                value = next(words, "")
            if option == "--override":
                key, separator, setting = value.partition("=")
                if not separator or not key.strip():
                    raise UsageError(f"--override needs KEY=VALUE, not {value!r}.")
                overrides[key.strip()] = setting.strip()
            else:
                log_level = value.lower()
                if log_level not in LOG_LEVELS:
                    raise UsageError(f"--log-level must be one of {', '.join(LOG_LEVELS)}, not {value!r}.")
        elif word.startswith("-"):
            raise UsageError(f"There is no option {word}; see kafka-cy server --help.")
        elif config_path is not None:
            raise UsageError(f"Only one CONFIG can be given, not both {config_path} and {word}.")
        else:
            config_path = word
    return config_path, overrides, log_level


def server(arguments: list[str]) -> int:
    """Run `kafka-cy server`; the exit code."""
    if "--help" in arguments or "-h" in arguments:
        sys.stdout.write(SERVER_USAGE)
        return 0
    try:
        config_path, overrides, log_level = parse_server_arguments(arguments)
    except UsageError as error:
        sys.stderr.write(f"kafka-cy server: {error}\n")
        return EXIT_USAGE
    from kafka_cy.server.main import run

    return int(run(config_path, overrides, log_level))


def main() -> None:
    """Entry point of the command; leaves by sys.exit."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["server"]:
        sys.exit(server(arguments[1:]))
    from kafka_cy.tools.cli import run

    sys.exit(run(arguments))
