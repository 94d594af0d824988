"""`kafka-cy exec -- CMD`: runs a command with a broker of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator

import click

from kafka_cy.tools.client import ToolError, key_values

EXIT_NOT_FOUND = 127
EXIT_BY_SIGNAL = 128
LOOK_INTERVAL_S = 0.5


@click.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "--override", "overrides", multiple=True, metavar="KEY=VALUE", help="Setting of the broker; may be repeated."
)
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD [ARG]...")
def command(overrides: tuple[str, ...], words: tuple[str, ...]) -> None:
    """Start a broker, run CMD, stop the broker.

    CMD finds the broker's address in KAFKA_BOOTSTRAP_SERVERS. The exit code is that of CMD. The broker uses free ports of
    127.0.0.1 and a temporary folder.
    """
    from kafka_cy.testing.broker import Broker, BrokerStartError

    broker = Broker(key_values(overrides, "--override"), own_process_group=True)
    try:
        with broker:
            code = run_with_broker(list(words), broker.bootstrap_servers)
    except BrokerStartError as error:
        raise ToolError(str(error)) from error
    except ValueError as error:  # an unknown key
        raise click.UsageError(f"--override: {error}.") from error
    raise click.exceptions.Exit(code)


def run_with_broker(words: list[str], bootstrap_servers: str, meanwhile: Callable[[], object] | None = None) -> int:
    """Run a command with the broker's address in its environment; its exit code, as a shell has it.

    `meanwhile` is called about twice a second until the command has ended.
    """
    # KAFKA_BOOTSTRAP is what kafka-cy's own tools read.
    names = ("KAFKA_BOOTSTRAP_SERVERS", "KAFKA_BOOTSTRAP")
    environment = {**os.environ, **dict.fromkeys(names, bootstrap_servers)}
    try:
        process = subprocess.Popen(words, env=environment)
    except OSError as error:
        click.echo(f"kafka-cy: {words[0]} cannot be run: {error.strerror}.", err=True)
        return EXIT_NOT_FOUND
    with signals_for(process):
        while meanwhile is not None and process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(LOOK_INTERVAL_S)
            meanwhile()
        code = process.wait()
    return code if code >= 0 else EXIT_BY_SIGNAL - code


@contextlib.contextmanager
def signals_for(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Leave Ctrl-C to the command, which gets it from the terminal too, and pass SIGTERM and SIGHUP on to it."""
    pass_on = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *pass_on)}
    signal.signal(signal.SIGINT, lambda number, frame: None)
    for number in pass_on:
        signal.signal(number, lambda received, frame: process.send_signal(received))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
