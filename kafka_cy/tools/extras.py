"""Parts of kafka-cy whose libraries are optional: which extra of the package brings them."""

from __future__ import annotations

EXTRAS = {"numpy": "bench", "yaml": "bench", "opentelemetry": "otel", "cryptography": "certs"}


def missing_library(error: ImportError) -> str | None:
    """The message to the user when an optional library is not installed; None for other errors."""
    library = (error.name or "").partition(".")[0]
    if library not in EXTRAS:
        return None
    return f"This needs {library}, which is not installed: pip install 'kafka-cy[{EXTRAS[library]}]'."
