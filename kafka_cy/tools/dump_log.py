"""`kafka-cy dump-log`: shows the contents of segment, index and snapshot files of any Kafka."""

from __future__ import annotations

from pathlib import Path

import click

from kafka_cy.tools.client import ToolError


@click.command("dump-log")
@click.argument("named", nargs=-1, metavar="[FILE]...")
@click.option("--files", "options", multiple=True, help="Comma-separated files, as in Kafka's tool.")
@click.option("--deep-iteration", is_flag=True, help="Print each record, not only each batch.")
@click.option("--print-data-log", is_flag=True, help="Print keys and values too (implies --deep-iteration).")
@click.option("--verify-index-only", is_flag=True, help="Only check an index against its log.")
@click.option("--index-sanity-check", is_flag=True, help="Only check that an index is well-formed.")
@click.option("--offsets-decoder", is_flag=True, help="Decode keys and values of __consumer_offsets.")
def command(
    named: tuple[str, ...],
    options: tuple[str, ...],
    deep_iteration: bool,
    print_data_log: bool,
    verify_index_only: bool,
    index_sanity_check: bool,
    offsets_decoder: bool,
) -> None:
    """Print the contents of .log, .index, .timeindex, .txnindex and .snapshot files."""
    paths = [*named, *(path for option in options for path in option.split(",") if path)]
    if not paths:
        raise click.UsageError("Give at least one file.")
    for path in paths:
        if not Path(path).is_file():
            raise ToolError(f"{path} is not a file.")
    from kafka_cy.storage.dump import dump

    mismatches = dump(
        paths,
        deep_iteration=deep_iteration or print_data_log or offsets_decoder,
        print_data_log=print_data_log or offsets_decoder,
        verify_index_only=verify_index_only,
        index_sanity_check=index_sanity_check,
        offsets_decoder=offsets_decoder,
        write=click.echo,
    )
    if mismatches:
        raise ToolError(f"{mismatches} index entries do not match.")
