"""Users of the metrics and lag pages (HTTP basic authentication): the file with them, and checks of their passwords.

A line of the file is `user:$scrypt$ln=14,r=8,p=1$SALT$HASH`, the PHC string format as passlib and libpass write it. bcrypt, which
Prometheus' own web.config has, is not in Python's standard library.

Scrypt takes some 0.1 s on purpose, so it runs on a thread of its own. A password that was right is recognised by its HMAC
afterwards.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from binascii import Error as Base64Error
from typing import Any, NamedTuple

USERS_MAX = 1000
FILE_BYTES_MAX = 1 << 20
LOG_N, BLOCK, PARALLEL = 14, 8, 1  # of new hashes: 16 MiB for a check
MEMORY_MAX = 64 << 20
PARALLEL_MAX = 4
HASH_BYTES, SALT_BYTES = 32, 16
VERIFIED_MAX = 64  # passwords that are recognised without scrypt


class UsersFileError(ValueError):
    """What is wrong with the file, without a word of its content."""


class PasswordHash(NamedTuple):
    """A scrypt hash and its parameters."""

    log_n: int
    block: int
    parallel: int
    salt: bytes
    digest: bytes

    def matches(self, password: bytes) -> bool:
        """Takes long, and the GIL not."""
        size = len(self.digest)
        found = _scrypt(password, self.salt, self.log_n, self.block, self.parallel, size)
        return hmac.compare_digest(found, self.digest)


Users = dict[bytes, PasswordHash]
# Checked in place of a user that does not exist: the time of the answer must not say which users there are.
NOBODY = PasswordHash(LOG_N, BLOCK, PARALLEL, bytes(SALT_BYTES), bytes(HASH_BYTES))


def user_line(user: str, password: str) -> str:
    """A line of the file for this user, with a new salt."""
    salt = os.urandom(SALT_BYTES)
    digest = _scrypt(password.encode(), salt, LOG_N, BLOCK, PARALLEL, HASH_BYTES)
    return f"{user}:$scrypt$ln={LOG_N},r={BLOCK},p={PARALLEL}${_base64(salt)}${_base64(digest)}"


def read_users(path: str) -> Users:
    """The users by their names in UTF-8. Raises OSError, UsersFileError."""
    with open(path, "rb") as file:
        content = file.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        raise UsersFileError(f"it has more than {FILE_BYTES_MAX} bytes")
    users: Users = {}
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip() or line.startswith(b"#"):
            continue
        name, _, text = line.strip().partition(b":")
        found = _parsed(text)
        if not name or found is None:
            raise UsersFileError(f"line {number} is not USER:$scrypt$ln=...,r=...,p=...$SALT$HASH")
        if name in users:
            raise UsersFileError(f"line {number} has a user that an earlier line has")
        users[name] = found
    if not 0 < len(users) <= USERS_MAX:
        raise UsersFileError(f"it has {len(users)} users; 1 to {USERS_MAX} are possible")
    return users


def credentials(authorization: str) -> bytes | None:
    """`user:password` of an Authorization header; None if it has none."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        given = base64.b64decode(value.strip(), validate=True)
    except (Base64Error, ValueError):
        return None
    return given if b":" in given else None


class Verified:
    """Passwords that were right, as HMACs under a key that this process made. Owner: the page's thread."""

    def __init__(self) -> None:
        self._key = os.urandom(32)
        self._known: dict[bytes, None] = {}  # the one that was used last is the last

    def has(self, given: bytes) -> bool:
        """Whether this user has shown this password."""
        mark = hmac.digest(self._key, given, "sha256")
        if mark not in self._known:
            return False
        del self._known[mark]
        self._known[mark] = None
        return True

    def add(self, given: bytes) -> None:
        """Remember it; the one that was not used for longest makes room."""
        self._known[hmac.digest(self._key, given, "sha256")] = None
        if len(self._known) > VERIFIED_MAX:
            del self._known[next(iter(self._known))]

    def clear(self) -> None:
        """Forget all: the users have changed."""
        self._known.clear()


def check(connection: Any, what: tuple[Users, bytes]) -> bool:
    """Whether `user:password` is right; for a SideThread."""
    users, given = what
    if connection.socket.fileno() < 0:
        return False  # it has been closed meanwhile
    user, _, password = given.partition(b":")
    return users.get(user, NOBODY).matches(password) and user in users


def _parsed(text: bytes) -> PasswordHash | None:
    parts = text.decode("ascii", "replace").split("$")
    try:
        empty, kind, settings, salt, digest = parts
        numbers = dict(each.split("=") for each in settings.split(","))
        log_n, block, parallel = (int(numbers.pop(name)) for name in ("ln", "r", "p"))
        found = PasswordHash(log_n, block, parallel, _bytes(salt), _bytes(digest))
    except (ValueError, KeyError, Base64Error):
        return None
    bounded = 1 <= log_n <= 30 and 1 <= block <= 64 and 1 <= parallel <= PARALLEL_MAX and _memory(log_n, block) <= MEMORY_MAX
    usable = len(found.digest) >= 16 and len(found.salt) >= 8 and not empty and kind == "scrypt" and not numbers
    return found if bounded and usable else None


def _memory(log_n: int, block: int) -> int:
    return 128 * block << log_n


def _scrypt(password: bytes, salt: bytes, log_n: int, block: int, parallel: int, size: int) -> bytes:
    memory = _memory(log_n, block) + 128 * block * (parallel + 2) + (1 << 20)
    return hashlib.scrypt(password, salt=salt, n=1 << log_n, r=block, p=parallel, maxmem=memory, dklen=size)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
