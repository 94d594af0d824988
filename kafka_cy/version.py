"""The version of kafka-cy, as in pyproject.toml; reading it from the package's metadata would cost start time."""

VERSION = "0.1.0"
