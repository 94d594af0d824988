"""The stored delegation tokens (KIP-48): read at the start and when a notification names them, changed for requests, expired.

The nodes are those of ZooKeeper-mode Kafka (token_formats), in ZooKeeper and in the embedded store. A token's node and the
notification of its change are written in one transaction, under the version that was read: a crash leaves the token as it was or
as it was to be, and whoever reads notifications misses no change.

Any client that has authenticated can change tokens as often as it likes, so notifications have bounds: a broker by itself keeps
the newest ones; in a cluster, users have a pace (token_pace), and crowded notifications stay for a shorter time.

A node that cannot be understood is a token that nobody can use; no request overwrites it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from kafka_cy.cluster.change_notifications import superfluous
from kafka_cy.cluster.followed_nodes import FollowedNodes
from kafka_cy.cluster.line_log import LineLog
from kafka_cy.cluster.store import (
    AsyncStore,
    BadVersionError,
    Children,
    Create,
    Delete,
    Get,
    MetadataStore,
    Node,
    NodeExistsError,
    NoNodeError,
    Operation,
    OutcomeUnknown,
    SessionExpired,
    Set,
)
from kafka_cy.cluster.store_calls import CallLater, StoreCalls, run
from kafka_cy.cluster.store_now import StoreNow
from kafka_cy.cluster.token_cache import TokenCache
from kafka_cy.cluster.token_formats import (
    CHANGES,
    TOKENS,
    USER_TYPE,
    DelegationToken,
    Principal,
    changed_token,
    decode_token,
    token_data,
    token_path,
)
from kafka_cy.cluster.token_pace import TokenPace
from kafka_cy.cluster.token_times import TokenLifetimes
from kafka_cy.cluster.znode_formats import MALFORMED

READ_AT_ONCE: Final = 50  # each takes some 10 us
SCANNED_AT_ONCE: Final = 1000
NOTIFICATIONS_KEPT: Final = 100  # in a cluster; those before them stay for a shorter time
REQUESTER_SHARE: Final = 10  # a requester has at most this part (1/10) of all tokens
NAME_CHARS_MAX: Final = 200  # of a principal in the log
_NOTIFICATION: Final = f"{CHANGES.parent}/{CHANGES.prefix}"

Edit = Callable[[DelegationToken | None], DelegationToken | None]  # from what is stored to what shall be; None: no token
Changed = Callable[[DelegationToken | None, Exception | None], object]  # what is stored now, or why nothing was changed


class TooManyTokens(Exception):
    """kafkacy.delegation.tokens.max is reached."""


class TooManyTokensOfRequester(TooManyTokens):
    """The requester has its share of kafkacy.delegation.tokens.max."""


class MalformedToken(Exception):
    """The node of the token cannot be understood."""


class StoredTokens:
    """Owner: the store's. Lifetime: the broker's.

    Limits: `tokens_max`, unless other brokers create more, and the changes of requests that wait.
    """

    def __init__(
        self,
        store: AsyncStore,
        cache: TokenCache,
        lifetimes: TokenLifetimes,
        *,
        is_alone: bool,
        tokens_max: int,
        check_interval_ms: int,
        removes_expired: Callable[[], bool],
        wall_clock_ms: Callable[[], int],
        call_later: CallLater,
        log: LineLog,
    ) -> None:
        """`is_alone`: no other broker uses the store. `tokens_max`: kafkacy.delegation.tokens.max.

        `check_interval_ms`: delegation.token.expiry.check.interval.ms.

        `removes_expired`: whether this broker is to do it now.
        """
        self._store, self.cache, self.lifetimes = store, cache, lifetimes
        self._tokens_max = tokens_max
        self._check_interval_ms, self._removes_expired = check_interval_ms, removes_expired
        self.wall_clock_ms, self._call_later, self._log = wall_clock_ms, call_later, log
        self._nodes = FollowedNodes(
            store,
            CHANGES,
            "delegation tokens",
            name_of=changed_token,
            kept_max=NOTIFICATIONS_KEPT,
            read=self._read,
            read_all=self.read_all,
            wall_clock_ms=wall_clock_ms,
            call_later=call_later,
            log=log,
        )
        self._malformed: set[str] = set()
        self._odd_owners: set[str] = set()  # ids of tokens that were warned of
        self._creating: Counter[Principal] = Counter()  # tokens that are not in the cache yet, by requester
        self._is_alone, self._pace = is_alone, TokenPace()
        self._deletions: set[Operation] = set()  # of notifications, by the changes that are in work

    # -- reading --

    def load(self, store: MetadataStore) -> None:
        """Read everything at the start of a broker by itself. Raises StoreError."""
        faults: list[Exception] = []
        calls = StoreCalls(StoreNow(store), self._call_later)
        run(self.read_all(calls), lambda _, fault: faults.append(fault) if fault is not None else None)
        for fault in faults:
            raise fault

    async def read_all(self, calls: StoreCalls) -> None:
        """Read everything. Raises StoreError."""
        await calls.create_missing([TOKENS, CHANGES.parent])
        (stored,) = await calls.read(Children(TOKENS))
        # Those that are known are read, too: they may have been removed, or added after the children were listed.
        await self._read(calls, list(dict.fromkeys([*self.cache.ids(), *(stored or ())])))

    async def _read(self, calls: StoreCalls, token_ids: Sequence[str]) -> None:
        for start in range(0, len(token_ids), READ_AT_ONCE):
            some = token_ids[start : start + READ_AT_ONCE]
            nodes: list[Node | None] = await calls.read(*[Get(token_path(token_id)) for token_id in some])
            for token_id, node in zip(some, nodes, strict=True):
                try:
                    self._take(token_id, self._decoded(token_id, node))
                except MalformedToken:
                    self._take(token_id, None)

    def _decoded(self, token_id: str, node: Node | None) -> DelegationToken | None:
        try:
            token = decode_token(node.data, token_id) if node is not None else None
        except MALFORMED as error:
            if token_id not in self._malformed:
                self._malformed.add(token_id)
                self._log.error("a delegation token is malformed and cannot be used", path=token_path(token_id), error=repr(error))
            raise MalformedToken(f"the node {token_path(token_id)} is malformed") from None
        self._malformed.discard(token_id)
        return token

    def _take(self, token_id: str, token: DelegationToken | None) -> None:
        if token is None:
            self.cache.remove(token_id)
            self._odd_owners.discard(token_id)
            return
        self.cache.put(token)
        if token.owner.kind != USER_TYPE and token_id not in self._odd_owners:
            self._odd_owners.add(token_id)
            owner = str(token.owner)[:NAME_CHARS_MAX]
            self._log.warning("nobody can log in with a delegation token whose owner is no user", token=token_id, owner=owner)

    # -- changing --

    def create(self, token: DelegationToken, done: Changed) -> None:
        """Store a new token, whose id is a random one. Clients can log in with it before `done` is called.

        The error may be TooManyTokens. Other brokers accept the token soon after.
        """
        requester = token.requester
        fault = self._why_too_many(requester)
        if fault is not None:
            done(None, fault)
            return
        self._creating[requester] += 1

        def created(stored: DelegationToken | None, fault: Exception | None) -> None:
            self._creating[requester] -= 1
            if not self._creating[requester]:
                del self._creating[requester]
            done(stored, fault)

        self.change(token.token_id, lambda before: token, created, requester.name)

    def _why_too_many(self, requester: Principal) -> TooManyTokens | None:
        if len(self.cache) + self._creating.total() >= self._tokens_max:
            return TooManyTokens(f"there are {self._tokens_max} delegation tokens (kafkacy.delegation.tokens.max)")
        share = max(1, self._tokens_max // REQUESTER_SHARE)
        if self.cache.count_of(requester) + self._creating[requester] < share:
            return None
        name = str(requester)[:NAME_CHARS_MAX]
        return TooManyTokensOfRequester(
            f"{name} has requested {share} delegation tokens, which is 1/{REQUESTER_SHARE} of kafkacy.delegation.tokens.max"
        )

    def change(self, token_id: str, edit: Edit, done: Changed, user: str | None = None) -> None:
        """Store what `edit` makes of a token. It is called again if another broker changes the token meanwhile.

        If it raises, nothing is changed, and `done` gets what it raised; else it may get StoreError, MalformedToken, or
        TooManyChanges of the `user` who asks for it.
        """
        run(self._change(StoreCalls(self._store, self._call_later), token_id, edit, user), done)

    async def _change(self, calls: StoreCalls, token_id: str, edit: Edit, user: str | None = None) -> DelegationToken | None:
        path = token_path(token_id)
        was_removed = False  # perhaps: the answer was lost
        while True:
            (node,) = await calls.read(Get(path))
            token = self._decoded(token_id, node)
            wanted = None if was_removed and token is None else edit(token)
            if wanted == token:
                break
            if user is not None and not self._is_alone:
                self._pace.take(user, self.wall_clock_ms())
                user = None  # once for all attempts
            notification = Create(_NOTIFICATION, token_id.encode(), sequential=True)
            deletions = await self._superfluous(calls)
            try:
                await calls.change(_operation(path, node, wanted), notification, *deletions)
            except NoNodeError:
                await calls.create_missing([TOKENS, CHANGES.parent])
            except (NodeExistsError, BadVersionError):
                continue
            except OutcomeUnknown:
                was_removed = wanted is None
            else:
                break
            finally:
                self._deletions.difference_update(deletions)
        self._take(token_id, wanted)
        return wanted

    async def _superfluous(self, calls: StoreCalls) -> list[Operation]:
        """Deletions of notifications: no other broker has to read those of a broker by itself.

        Those of changes at the same time are different ones, because a change that deletes what is gone already fails as a whole.
        """
        if not self._is_alone:
            return []
        deletions = await superfluous(calls, CHANGES, 1, besides=self._deletions)
        self._deletions.update(deletions)
        return deletions

    # -- expiry --

    def start(self) -> None:
        """Follow what other brokers change, and remove tokens that have expired."""
        self._nodes.start()
        self._call_later(self._check_interval_ms, self._look_for_expired)

    @property
    def is_current(self) -> bool:
        """Whether everything was read since `start`."""
        return self._nodes.is_current

    @property
    def fault(self) -> Exception | None:
        """Why the last attempt to read everything has failed; the end of a session is none."""
        return self._nodes.fault

    def _look_for_expired(self) -> None:
        def ended(result: None, fault: Exception | None) -> None:
            if fault is not None and not isinstance(fault, SessionExpired):
                self._log.error(f"expired delegation tokens cannot be removed: {fault!r}")
            self._call_later(self._check_interval_ms, self._look_for_expired)

        run(self._remove_expired(StoreCalls(self._store, self._call_later)), ended)

    async def _remove_expired(self, calls: StoreCalls) -> None:
        if not self._removes_expired():
            return
        tokens = self.cache.all()
        for start in range(0, len(tokens), SCANNED_AT_ONCE):
            now_ms = self.wall_clock_ms()
            for token, _ in tokens[start : start + SCANNED_AT_ONCE]:
                if token.has_expired(now_ms):
                    await self._remove_one(calls, token, now_ms)
            await calls.sleep(0)

    async def _remove_one(self, calls: StoreCalls, token: DelegationToken, now_ms: int) -> None:
        """Remove the token, unless it was renewed meanwhile."""
        is_there = False

        def edit(stored: DelegationToken | None) -> DelegationToken | None:
            nonlocal is_there
            is_there = stored is not None
            return None if stored is None or stored.has_expired(now_ms) else stored

        try:
            left = await self._change(calls, token.token_id, edit)
        except MalformedToken:
            return  # it was logged
        if is_there and left is None:
            self._log.info("delegation token expired", token=token.token_id, owner=str(token.owner)[:NAME_CHARS_MAX])


def _operation(path: str, node: Node | None, wanted: DelegationToken | None) -> Operation:
    if wanted is None:
        assert node is not None
        return Delete(path, node.version)
    data = token_data(wanted)
    return Set(path, data, node.version) if node is not None else Create(path, data)
