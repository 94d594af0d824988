"""The command `kafka-cy`.

`kafka-cy server` is parsed by hand: click (and the rest of the tools) would double the broker's start time. All other
commands live in `kafka_cy.tools.cli`.
"""

from __future__ import annotations

import sys

SERVER_USAGE = """\
Usage: kafka-cy server [CONFIG] [--override KEY=VALUE]... [--log-level LEVEL]
                       [--from-environment] [--port-file FILE]
       kafka-cy server [CONFIG] [--override KEY=VALUE]... --check-config
       kafka-cy server [CONFIG] [--override KEY=VALUE]... --print-config
       kafka-cy server [CONFIG] --adopt [--preview] [--adopt-settings FILE]

Run a broker. CONFIG is a Kafka server.properties; without one: 127.0.0.1:9092,
data under ./data, metrics on 127.0.0.1:9404, topics created on demand.

Options:
  --override KEY=VALUE  Set a key of the configuration; may be repeated.
  --log-level LEVEL     debug, info (default), warning or error.
  --from-environment    Take settings from KAFKA_* variables as the image
                        apache/kafka does (KAFKA_ADVERTISED_LISTENERS, ...);
                        they win over CONFIG. CLUSTER_ID: id of a new cluster.
  --port-file FILE      Write the port of the first listener to FILE once the
                        broker is ready, and remove FILE at the end.
  --check-config        Check the configuration, and end: exit code 0 or 2.
  --print-config        The same, and print the effective configuration with
                        all defaults.
  --adopt               Take over topics and settings that another Kafka broker
                        has left in log.dirs (docs/migrating.md), and end.
  --preview             With --adopt: print what would be taken over, and
                        change nothing.
  --adopt-settings FILE With --adopt: settings of topics, as printed by
                        kafka-topics.sh --describe.
  -V, --version         Show the version and exit.
  --help                Show this message and exit.
"""
LOG_LEVELS = ("debug", "info", "warning", "error")
EXIT_USAGE = 2


class UsageError(Exception):
    """An invalid command line; the text is one sentence."""


class ServerArguments:
    """The words after `server`. A plain class: dataclasses would cost start time."""

    def __init__(self) -> None:
        self.config_path: str | None = None
        self.overrides: dict[str, str] = {}
        self.log_level = "info"
        self.from_environment = False
        self.cluster_id: str | None = None
        self.adopt = False
        self.preview = False
        self.adopt_settings: str | None = None
        self.port_file: str | None = None
        self.check_config = False
        self.print_config = False
        self.with_parent = False
        self.parents_folder: str | None = None


def parse_server_arguments(arguments: list[str]) -> ServerArguments:
    """Parse the words after `server`. Raises UsageError."""
    result = ServerArguments()
    words = iter(arguments)
    for word in words:
        option, equals, value = word.partition("=")
        if option == "--with-parent":  # internal, for kafka_cy.Broker
            result.with_parent, result.parents_folder = True, value or None
        elif option in ("--override", "--log-level", "--adopt-settings", "--port-file"):
            _take_value(result, option, value if equals else next(words, ""))
        elif word in ("--adopt", "--preview", "--from-environment", "--check-config", "--print-config"):
            setattr(result, word[2:].replace("-", "_"), True)
        elif word.startswith("-"):
            raise UsageError(f"Unknown option {word}; see kafka-cy server --help.")
        elif result.config_path is not None:
            raise UsageError(f"Only one CONFIG can be given, not both {result.config_path} and {word}.")
        else:
            result.config_path = word
    if not result.adopt and (result.preview or result.adopt_settings):
        raise UsageError("--preview and --adopt-settings require --adopt.")
    return result


def _take_value(result: ServerArguments, option: str, value: str) -> None:
    if option == "--override":
        key, separator, setting = value.partition("=")
        if not separator or not key.strip():
            raise UsageError(f"--override requires KEY=VALUE, not {value!r}.")
        result.overrides[key.strip()] = setting.strip()
    elif option in ("--adopt-settings", "--port-file"):
        if not value:
            raise UsageError(f"{option} requires a FILE.")
        setattr(result, option[2:].replace("-", "_"), value)
    else:
        result.log_level = value.lower()
        if result.log_level not in LOG_LEVELS:
            raise UsageError(f"--log-level must be one of {', '.join(LOG_LEVELS)}, not {value!r}.")


def _keys_of(config_path: str | None) -> list[str] | None:
    """The keys that the configuration file sets; None without a file. The broker reports a file that cannot be read."""
    if config_path is None:
        return None
    from kafka_cy.config.properties import parse_properties

    try:
        with open(config_path, encoding="utf-8", errors="surrogateescape") as file:
            return list(parse_properties(file.read()))
    except (OSError, ValueError):
        return []


def _add_environment(given: ServerArguments, arguments: list[str]) -> None:
    """Add what the environment variables set; the command line wins. Raises UsageError."""
    import os

    from kafka_cy.server.environment import BadEnvironment, mounted_config, read_environment

    given.config_path = mounted_config(given.config_path)
    try:
        found = read_environment(os.environ, file_keys=_keys_of(given.config_path))
    except BadEnvironment as error:
        raise UsageError(str(error)) from error
    given.overrides = {**found.settings, **given.overrides}
    given.cluster_id = found.cluster_id
    if found.log_level is not None and not any(word.startswith("--log-level") for word in arguments):
        given.log_level = found.log_level


def server(arguments: list[str]) -> int:
    """Run `kafka-cy server`; the exit code."""
    if "--help" in arguments or "-h" in arguments:
        sys.stdout.write(SERVER_USAGE)
        return 0
    if "--version" in arguments or "-V" in arguments:
        from kafka_cy.version import version_line

        sys.stdout.write(f"{version_line()}\n")
        return 0
    try:
        given = parse_server_arguments(arguments)
        if given.from_environment:
            _add_environment(given, arguments)
    except UsageError as error:
        sys.stderr.write(f"kafka-cy server: {error}\n")
        return EXIT_USAGE
    if given.adopt:
        from kafka_cy.server.adopt import run as adopt

        return adopt(given.config_path, given.overrides, given.log_level, given.adopt_settings, preview=given.preview)
    if given.check_config or given.print_config:
        from kafka_cy.server.check_config import run as check_config

        return check_config(given.config_path, given.overrides, printed=given.print_config)
    from kafka_cy.server.main import run

    parent = None
    if given.with_parent:
        from kafka_cy.server.parent import Parent

        parent = Parent(given.parents_folder)
    port_file = None
    if given.port_file is not None:
        from kafka_cy.server.port_file import PortFile

        port_file = PortFile(given.port_file)
    return int(run(given.config_path, given.overrides, given.log_level, parent, given.cluster_id, port_file))


def main() -> None:
    """Entry point of the command; ends with sys.exit."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["server"]:
        code = 0
        try:
            code = server(arguments[1:])
            sys.stdout.flush()
        except BrokenPipeError:  # the reader of the output (head, less ...) has ended
            import os

            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing may be written at exit either
        sys.exit(code)
    from kafka_cy.tools.cli import run

    sys.exit(run(arguments))
