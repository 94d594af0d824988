"""All commands of `kafka-cy` except `server`: clients of a broker, based on confluent-kafka."""

from __future__ import annotations

import os
import sys

import click

from kafka_cy.tools import (
    bench,
    cluster,
    configs,
    consume,
    dump_log,
    exec_command,
    groups,
    groups_reset,  # noqa: F401  (adds its commands to groups)
    hash_password,
    offsets,
    produce,
    sizing,
    top,
    topics,
)
from kafka_cy.tools.certs import command as certs
from kafka_cy.tools.client import ToolError, sentence_of
from kafka_cy.tools.doctor import command as doctor
from kafka_cy.tools.extras import missing_library
from kafka_cy.tools.main import SERVER_USAGE

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130

CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    """Print the version and end."""
    if not wanted or context.resilient_parsing:
        return
    from kafka_cy.version import version_line

    click.echo(version_line())
    context.exit()


@click.group(context_settings=CONTEXT_SETTINGS)
@click.option(
    "-V", "--version", is_flag=True, expose_value=False, is_eager=True, callback=print_version,
    help="Show the version, the commit, and the versions of Python and OpenSSL.",
)  # fmt: skip
def commands() -> None:
    """A Kafka broker, and the tools for its first five minutes.

    All tools but `server`, `certs`, `cluster start`, `dump-log`, `hash-password` and `sizing` talk to any Kafka broker
    (--bootstrap-server, default 127.0.0.1:9092).
    """


@commands.command("version")
def version() -> None:
    """Show the version, the commit, and the versions of Python and OpenSSL."""
    from kafka_cy.version import version_line

    click.echo(version_line())


@commands.command("server", add_help_option=False, context_settings={"ignore_unknown_options": True})
def server() -> None:
    """Run a broker."""
    click.echo(SERVER_USAGE, nl=False)  # only reached by `kafka-cy --option server`: main() handles the normal case


commands.add_command(topics.commands)
commands.add_command(produce.command)
commands.add_command(consume.command)
commands.add_command(groups.commands)
commands.add_command(configs.commands)
commands.add_command(offsets.get_offsets)
commands.add_command(offsets.delete_records)
commands.add_command(cluster.cluster)
commands.add_command(cluster.broker_api_versions)
commands.add_command(cluster.log_dirs)
commands.add_command(certs.commands)
commands.add_command(dump_log.command)
commands.add_command(exec_command.command)
commands.add_command(doctor.command)
commands.add_command(hash_password.command)
commands.add_command(bench.commands)
commands.add_command(sizing.command)
commands.add_command(top.command)


def run(arguments: list[str]) -> int:
    """Run one command line and return the exit code. Failures are one sentence on stderr."""
    try:
        code = commands.main(args=arguments, prog_name="kafka-cy", standalone_mode=False)
        sys.stdout.flush()  # here, where a BrokenPipeError is expected, and not when Python ends
        return code if isinstance(code, int) else 0  # the command ended with click's Exit
    except click.UsageError as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except (BrokenPipeError, SystemExit):  # click turns the first one into the second
        # The reader of our output (head, less ...) has exited; nothing may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ToolError, click.ClickException) as error:
        return fail(str(error))
    except ImportError as error:
        sentence = missing_library(error)
        if sentence is None:
            raise
        return fail(sentence)
    except Exception as error:
        sentence = sentence_of(error)
        if sentence is None:
            raise
        return fail(sentence)


def fail(sentence: str) -> int:
    """Print the reason and return the exit code."""
    click.echo(f"kafka-cy: {sentence}", err=True)
    return EXIT_FAILED
