"""`kafka-cy produce`: sends lines of standard input as records."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import click

from kafka_cy.tools.client import ToolError, bootstrap_option, connect_producer, key_values, reason_of
from kafka_cy.tools.output import note

FLUSH_TIMEOUT_S = 60
PROPERTIES = {
    "parse.key": "false",
    "key.separator": "\t",
    "parse.headers": "false",
    "headers.delimiter": "\t",
    "headers.separator": ",",
    "headers.key.separator": ":",
    "null.marker": "",
}


@dataclass(frozen=True)
class LineFormat:
    """How a line is split into headers, key and value; the properties of Kafka's console producer."""

    parse_key: bool
    key_separator: bytes
    parse_headers: bool
    headers_delimiter: bytes
    headers_separator: bytes
    headers_key_separator: bytes
    null_marker: bytes

    @classmethod
    def from_properties(cls, given: dict[str, str]) -> LineFormat:
        """Raises click.UsageError for a property that does not exist."""
        unknown = sorted(set(given) - set(PROPERTIES))
        if unknown:
            raise click.UsageError(f"Unknown property {unknown[0]}; known properties are {', '.join(PROPERTIES)}.")
        merged = {**PROPERTIES, **given}
        return cls(
            parse_key=merged["parse.key"].lower() == "true",
            key_separator=merged["key.separator"].encode(),
            parse_headers=merged["parse.headers"].lower() == "true",
            headers_delimiter=merged["headers.delimiter"].encode(),
            headers_separator=merged["headers.separator"].encode(),
            headers_key_separator=merged["headers.key.separator"].encode(),
            null_marker=merged["null.marker"].encode(),
        )

    def parse(self, line: bytes, number: int) -> tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]:
        """(key, value, headers) of a line without its line end. Raises ToolError that names the line."""
        headers: list[tuple[str, bytes | None]] = []
        rest = line
        if self.parse_headers:
            text, delimiter, rest = rest.partition(self.headers_delimiter)
            if not delimiter:
                raise ToolError(f"Line {number} has no headers delimiter {shown(self.headers_delimiter)}.")
            for header in text.split(self.headers_separator) if text else []:
                name, separator, content = header.partition(self.headers_key_separator)
                if not separator:
                    raise ToolError(
                        f"Line {number}: header {shown(header)} has no {shown(self.headers_key_separator)}."
                    )
                try:
                    headers.append((name.decode(), self._nullable(content)))
                except UnicodeDecodeError:
                    raise ToolError(f"Line {number}: the name of header {shown(header)} is not UTF-8.") from None
        key: bytes | None = None
        if self.parse_key:
            key, separator, rest = rest.partition(self.key_separator)
            if not separator:
                raise ToolError(f"Line {number} has no key separator {shown(self.key_separator)}.")
            key = self._nullable(key)
        return key, self._nullable(rest), headers

    def _nullable(self, content: bytes) -> bytes | None:
        return None if self.null_marker and content == self.null_marker else content


def shown(content: bytes) -> str:
    """Bytes in quotation marks, with unprintable ones escaped."""
    return repr(content.decode("utf-8", "backslashreplace"))


def lines(stream: Iterable[bytes]) -> Iterator[bytes]:
    """Lines without `\\n` or `\\r\\n`."""
    for line in stream:
        yield line.removesuffix(b"\n").removesuffix(b"\r")


@click.command("produce")
@click.option("-t", "--topic", required=True, help="Topic to write to.")
@click.option("-p", "--partition", type=click.IntRange(0, (1 << 31) - 1), help="Partition (default: by key).")
@click.option(
    "--property", "properties", multiple=True, metavar="KEY=VALUE", help="parse.key=true, key.separator=: ..."
)
@click.option("--compression-type", type=click.Choice(["none", "gzip", "snappy", "lz4", "zstd"]), default="none")
@click.option("--acks", type=click.Choice(["0", "1", "all", "-1"]), default="all", show_default=True)
@click.option(
    "--producer-property", "settings", multiple=True, metavar="KEY=VALUE", help="librdkafka setting; may be repeated."
)
@bootstrap_option
def command(
    topic: str,
    partition: int | None,
    properties: tuple[str, ...],
    compression_type: str,
    acks: str,
    settings: tuple[str, ...],
    bootstrap_servers: str,
) -> None:
    """Send each line of standard input as a record."""
    line_format = LineFormat.from_properties(key_values(properties, "--property"))
    producer = connect_producer(
        bootstrap_servers,
        {
            "compression.type": compression_type,
            "acks": acks,
            "linger.ms": 5,
            "partitioner": "murmur2_random",  # as Kafka's own producers; librdkafka's default puts keys elsewhere
            **key_values(settings, "--producer-property"),
        },
    )
    if sys.stdin.isatty():
        note(f"Each line is sent to {topic} as a record; Ctrl-D ends the input.")
    failure = send_all(producer, topic, partition, line_format, sys.stdin.buffer)
    if failure is not None:
        raise ToolError(failure)


def send_all(producer: Any, topic: str, partition: int | None, line_format: LineFormat, stream: BinaryIO) -> str | None:
    """Send every line and wait for the responses. Returns a sentence about the first failed record, or None.

    Raises ToolError for a line that cannot be sent; the lines before it are.
    """
    failures: list[str] = []

    def delivered(error: Any, message: Any) -> None:
        if error is not None and not failures:
            failures.append(f"A record for topic {topic} was not stored: {reason_of(error)} ({error.name()}).")

    place = {} if partition is None else {"partition": partition}
    try:
        for number, line in enumerate(lines(stream), start=1):
            key, value, headers = line_format.parse(line, number)
            while True:
                try:
                    producer.produce(topic, value=value, key=key, headers=headers, on_delivery=delivered, **place)
                    break
                except BufferError:  # the queue of unsent records is full: wait for responses
                    producer.poll(0.1)
            producer.poll(0)
            if failures:
                break
    finally:  # a bad line or Ctrl-C takes nothing back of the lines before it, as in Kafka
        remaining = producer.flush(FLUSH_TIMEOUT_S)
    if remaining and not failures:
        failures.append(f"{remaining} records were not acknowledged in time.")
    return failures[0] if failures else None
