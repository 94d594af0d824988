"""Exports of the bench commands: `--openmetrics FILE`, `--push URL`, and the command line in a results file."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kafka_cy.tools.client import ToolError
from kafka_cy.tools.output import note

if TYPE_CHECKING:
    from kafka_cy.bench.results import Results


class OutputFile(click.Path):
    """A file written at the end; it is checked to be writable before anything is measured."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, writable=True, path_type=Path)

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        super().convert(value, parameter, context)
        folder = Path(value).absolute().parent
        if not folder.is_dir():
            self.fail(f"the folder {folder} does not exist", parameter, context)
        if not os.access(folder, os.W_OK):
            self.fail(f"the folder {folder} is not writable", parameter, context)
        return Path(value)


Command = TypeVar("Command", bound=Callable[..., Any])


def export_options(function: Command) -> Command:
    """Add the arguments `openmetrics_path` and `push_url` to a command; both may be None."""
    openmetrics = click.option(
        "--openmetrics",
        "openmetrics_path",
        type=OutputFile(),
        metavar="FILE",
        help="Write metrics: every sample with its time, or (if FILE ends in .prom) one value per run for node_exporter.",
    )
    push = click.option("--push", "push_url", metavar="URL", help="Push one value per run to a Prometheus Pushgateway.")
    return openmetrics(push(function))


def export_results(results: Results, openmetrics_path: Path | None, push_url: str | None) -> None:
    """Export as the options say. Raises ToolError."""
    if openmetrics_path is None and push_url is None:
        return
    from kafka_cy.bench import openmetrics

    try:
        if openmetrics_path is not None:
            openmetrics.export(results, openmetrics_path)
            note(f"Metrics written to {openmetrics_path}.")
        if push_url is not None:
            openmetrics.push(results, push_url)
            note(f"Metrics pushed to {push_url}.")
    except openmetrics.ExportError as error:
        raise ToolError(str(error)) from error


def command_line() -> list[str]:
    """The words of this command without passwords, for a results file that others will read."""
    hidden = re.compile(r"((?:^|[=.])[^=]*(?:password|secret|jaas|token)[^=]*=).*", re.IGNORECASE | re.DOTALL)
    words = [hidden.sub(r"\1***", word) for word in sys.argv[1:]]
    return ["kafka-cy", *(re.sub(r"(://)[^/@]*@", r"\1***@", word) for word in words)]
