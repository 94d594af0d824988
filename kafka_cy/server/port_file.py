"""`kafka-cy server --port-file FILE`: the port of a running broker, for scripts that start it on a free port."""

from __future__ import annotations

import contextlib
import os


class PortFileError(Exception):
    """The file cannot be written; the text is one sentence."""


class PortFile:
    """A file that exists while the broker serves clients. Used by the main thread."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.remove()  # left by a crash: nobody may read a port that is no longer ours

    def write(self, port: int) -> None:
        """Write the port and a line end; a reader sees the whole file or none. Raises PortFileError."""
        unfinished = f"{self._path}.{os.getpid()}"
        try:
            with open(unfinished, "w", encoding="ascii") as file:
                file.write(f"{port}\n")
            os.replace(unfinished, self._path)  # noqa: PTH105 (start time)
        except OSError as error:
            raise PortFileError(f"the port file {self._path} cannot be written: {error.strerror}") from error

    def remove(self) -> None:
        """Remove the file if it exists."""
        with contextlib.suppress(OSError):
            os.unlink(self._path)  # noqa: PTH108 (start time)
