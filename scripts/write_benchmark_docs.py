"""Writes the reference in docs/benchmarks.md from the commands. `python scripts/write_benchmark_docs.py [--check]`."""

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent.parent))

from kafka_cy.tools.bench import commands

TARGET = Path(__file__).parent.parent / "docs" / "benchmarks.md"
MARK = "<!-- From here on written by scripts/write_benchmark_docs.py from the commands themselves. -->\n"


def main() -> int:
    """Write the page. With --check, only check that the page is current."""
    before = TARGET.read_text()
    text = before.partition(MARK)[0] + MARK + "".join(section(name, each) for name, each in all_commands())
    if "--check" in sys.argv[1:]:
        if before != text:
            print(f"{TARGET.name} is stale: run scripts/write_benchmark_docs.py")
        return int(before != text)
    TARGET.write_text(text)
    return 0


def all_commands() -> Iterator[tuple[str, click.Command]]:
    """(name, command) of every `bench` command."""
    context = click.Context(commands)
    for name in commands.list_commands(context):
        command = commands.get_command(context, name)
        assert command is not None
        yield name, command


def section(name: str, command: click.Command) -> str:
    """The usage, help text and options of one command."""
    context = click.Context(command, info_name=f"kafka-cy bench {name}")
    pieces = " ".join(command.collect_usage_pieces(context))
    rows = [
        option.get_help_record(context)
        for option in command.get_params(context)
        if isinstance(option, click.Option) and not option.hidden and "--help" not in option.opts
    ]
    options = "".join(f"| `{cell(row[0])}` | {cell(row[1])} |\n" for row in rows if row is not None)
    table = f"\n| option | what |\n|---|---|\n{options}" if options else ""
    return f"\n### {context.info_name} {pieces}\n\n{inspect.cleandoc(command.help or '')}\n{table}"


def cell(text: str) -> str:
    """A text, escaped for a table."""
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
