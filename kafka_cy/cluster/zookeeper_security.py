"""How a broker connects to ZooKeeper, and who may use the nodes that it creates (Kafka's ZkData.defaultAcls)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from kazoo.security import ACL, CREATOR_ALL_ACL, OPEN_ACL_UNSAFE, READ_ACL_UNSAFE, Permissions

#: Nodes that begin so are for their creators only: they have credentials.
SENSITIVE: Final = ("/config/users", "/config/brokers", "/delegation_token/tokens")
CONSUMERS: Final = "/consumers"  # old consumers write below it

CREATORS_ONLY: Final[list[ACL]] = CREATOR_ALL_ACL
CREATORS_CHANGE: Final[list[ACL]] = CREATOR_ALL_ACL + READ_ACL_UNSAFE

_RIGHTS: Final = (
    (Permissions.READ, "read"),
    (Permissions.WRITE | Permissions.CREATE | Permissions.DELETE, "change"),
    (Permissions.ADMIN, "give rights"),
)


class ZooKeeperSecurity:
    """Of all connections of one store; it does not change.

    `transport`: see BrokerConnection; None: plaintext. `login`: `username` and `password` of DIGEST-MD5; None: no SASL.
    `sets_acls`: zookeeper.set.acl. Its repr() shows nothing.
    """

    __slots__ = ("login", "sets_acls", "transport")

    def __init__(
        self, transport: Any = None, login: Mapping[str, bytes] | None = None, sets_acls: bool = False
    ) -> None:
        self.transport, self.login, self.sets_acls = transport, login, sets_acls

    def acl_of(self, path: str) -> list[ACL]:
        """The ACL of a new node; `path` is without the chroot."""
        if not self.sets_acls or path == CONSUMERS:
            return OPEN_ACL_UNSAFE  # type: ignore[no-any-return]
        return CREATORS_ONLY if path.startswith(SENSITIVE) else CREATORS_CHANGE


def rights_of_all(acl: Sequence[ACL]) -> list[str]:
    """What somebody who has not logged in may do with a node."""
    allowed = 0
    for each in acl:
        if each.id.scheme == "world":
            allowed |= each.perms
    return [word for bits, word in _RIGHTS if allowed & bits]
