"""Where passwords come from. Never from the command line itself: every user of the machine can list it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from kafka_cy.tools.certs.files import read
from kafka_cy.tools.client import ToolError

BYTES_MIN, BYTES_MAX = 6, 128  # keytool wants six
SOURCES = "env:NAME, file:PATH or prompt"


def checked_source(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Check the form: `env:NAME`, `file:PATH` (`file:-` is stdin) or `prompt`. A wrong value may be a password: it is not shown."""
    kind, _separator, rest = (value or "prompt").partition(":")
    if value not in (None, "prompt") and not (kind in ("env", "file") and rest):
        raise click.BadParameter(f"must be {SOURCES}; a password itself would be seen by every user of this machine.")
    return value


def password(source: str, what: str, *, new: bool) -> str:
    """The password from a source. `new`: it is asked for twice, and must be one that every Java reads. Raises ToolError."""
    kind, _, rest = source.partition(":")
    if source == "prompt":
        if not sys.stdin.isatty():
            raise ToolError(f"{what} has to be typed on a terminal, or comes from {SOURCES.replace(' or prompt', '')}.")
        found = str(click.prompt(what, hide_input=True, confirmation_prompt=new, err=True))
    elif kind == "env":
        if rest not in os.environ:
            raise ToolError(f"{what}: the environment variable {rest} is not set.")
        found = os.environ[rest]
    else:
        content = sys.stdin.buffer.read(BYTES_MAX + 3) if rest == "-" else read(Path(rest), f"{what}: the file")
        found = content.decode("utf-8", "surrogateescape").partition("\n")[0].rstrip("\r")
    if new and not (BYTES_MIN <= len(found) <= BYTES_MAX and found.isascii() and found.isprintable()):
        raise ToolError(
            f"{what} must have {BYTES_MIN} to {BYTES_MAX} ASCII characters: Java reads no other everywhere."
        )
    return found
