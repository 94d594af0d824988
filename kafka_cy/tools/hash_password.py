"""`kafka-cy hash-password`: a line for the file of the users who may read the metrics and lag pages."""

from __future__ import annotations

import click

from kafka_cy.tools.passwords import SOURCES, checked_source, password


@click.command("hash-password")
@click.argument("user")
@click.option(
    "--password", "source", callback=checked_source, default="prompt", metavar="SOURCE",
    help=f"Where the password comes from: {SOURCES} (default).",
)  # fmt: skip
def command(user: str, source: str) -> None:
    """Print USER and the hash of a password, as a line of kafkacy.metrics.basic.auth.users.file."""
    if not user or user.startswith("#") or ":" in user or user != user.strip() or not user.isprintable():
        raise click.BadParameter(
            "a user has no colon and no spaces around it, and does not begin with #.", param_hint="USER"
        )
    from kafka_cy.telemetry.page_users import user_line

    click.echo(user_line(user, password(source, f"Password of {user}", new=True)))
