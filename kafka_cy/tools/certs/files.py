"""Writes the files of one command: all or, after an error, none; keys are never readable by others, nor replaced by accident."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from kafka_cy.tools.client import ToolError

SECRET_MODE, PUBLIC_MODE = 0o600, 0o644
FILE_BYTES_MAX = 4 << 20


class Output(NamedTuple):
    """A file to write."""

    path: Path
    content: bytes
    secret: bool  # it holds a private key


def require_new(paths: Sequence[Path], force: bool) -> None:
    """Raises ToolError if one of the files exists and may not be replaced."""
    there = [path for path in paths if os.path.lexists(path)]
    if there and not force:
        names = ", ".join(str(path) for path in there)
        raise ToolError(f"{names} {'exist' if len(there) > 1 else 'exists'} already; --force replaces files.")


def write_all(outputs: Sequence[Output], force: bool) -> None:
    """Write the files. Each one is complete on the disk before it gets its name. Raises ToolError.

    A file that is replaced is also `<name>.old`, with its own mode, until all files are on the disk: whenever the process or
    the machine dies, the old key is there. An error brings the old files back.
    """
    require_new([output.path for output in outputs], force)
    temporary: list[Path] = []
    made: list[Path] = []
    kept: dict[Path, Path] = {}  # name.old -> name
    folders = {output.path.parent for output in outputs}
    try:
        for output in outputs:
            output.path.parent.mkdir(parents=True, exist_ok=True)
            name = output.path.with_name(f".{output.path.name}.{secrets.token_hex(4)}.tmp")
            temporary.append(name)
            _write(name, output)
        for output in outputs if force else ():
            _keep(output.path, kept)
        for folder in folders if kept else ():
            _sync(folder)  # before a name leads to another file
        for name, output in zip(temporary, outputs, strict=True):
            if output.path in kept.values():
                name.replace(output.path)
            else:
                os.link(name, output.path, follow_symlinks=False)  # unlike a rename, this never replaces a file
                made.append(output.path)
        for folder in folders:
            _sync(folder)
        made.clear()
        replaced = list(kept)
        kept.clear()
        for old in replaced:
            with suppress(OSError):
                old.unlink()
    except FileExistsError as error:
        raise ToolError(f"{error.filename2 or error.filename} exists already; --force replaces files.") from None
    except OSError as error:
        raise ToolError(f"{error.filename or 'A file'} cannot be written: {error.strerror or error}.") from None
    finally:
        _bring_back(kept)
        for name in (*temporary, *made):
            with suppress(OSError):
                name.unlink()


def _keep(path: Path, kept: dict[Path, Path]) -> None:
    """Give a file that is to be replaced a second name, and note it in `kept`. Raises OSError, ToolError."""
    old = path.with_name(f"{path.name}.old")
    if os.path.lexists(old):
        reason = "a command that replaced files was cut off, and this may be the only copy of a key"
        raise ToolError(f"{old} exists: perhaps {reason}. Rename it to {path.name}, or remove it, and try again.")
    if os.path.lexists(path):
        os.link(path, old, follow_symlinks=False)
        kept[old] = path


def _bring_back(kept: dict[Path, Path]) -> None:
    for old, path in kept.items():
        with suppress(OSError):
            old.replace(path)
            old.unlink(missing_ok=True)  # a rename does nothing between two names of one file


def _write(path: Path, output: Output) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, SECRET_MODE)
    with open(descriptor, "wb") as file:
        file.write(output.content)
        file.flush()
        if not output.secret:
            os.fchmod(descriptor, PUBLIC_MODE)
        os.fsync(descriptor)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: Path, what: str) -> bytes:
    """The content of a file. Raises ToolError that names it as `what`."""
    try:
        with open(path, "rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ToolError(f"{what} {path} cannot be read: {error.strerror or error}.") from None
    if len(content) > FILE_BYTES_MAX:
        raise ToolError(f"{what} {path} is too large to be one.")
    return content
