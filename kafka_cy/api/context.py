"""What a cold API handler gets: the request, and the parts of the broker. Plain classes, because they are in the start path."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from kafka_cy.protocol.at_first_use import bridge

if TYPE_CHECKING:
    from kafka_cy.api.delete_waits import DeleteWaits
    from kafka_cy.authorizer.authorizer import Authorizer
    from kafka_cy.base.slices import Slices
    from kafka_cy.cluster.acl_store import StoredAcls
    from kafka_cy.cluster.config_changes import ConfigChanges
    from kafka_cy.cluster.feature_changes import FeatureChanges
    from kafka_cy.cluster.metadata_cache import MetadataCache
    from kafka_cy.cluster.producer_ids import ProducerIds
    from kafka_cy.cluster.quorum import Quorum
    from kafka_cy.cluster.token_store import StoredTokens
    from kafka_cy.cluster.topic_changes import TopicChanges
    from kafka_cy.config.broker_config import BrokerConfig
    from kafka_cy.coordinator.group_coordinator import GroupCoordinator
    from kafka_cy.coordinator.transactions.transaction_coordinator import TransactionCoordinator
    from kafka_cy.network.client_quotas import ClientQuotas
    from kafka_cy.network.control_request import ControlRequest
    from kafka_cy.server.control_loop import ControlLoop
    from kafka_cy.server.log import BrokerLog
    from kafka_cy.server.long_requests import LongRequest
    from kafka_cy.share.service import ShareService
    from kafka_cy.storage.log_manager import LogManager
    from kafka_cy.telemetry.client_telemetry import ClientTelemetry


Make = Callable[[], Mapping[str, Any]]  # builds a response, on any thread
Prepare = Callable[[Callable[[Make], object]], object]


LOGGED_ID_CHARS_MAX = 200  # of a client id in the log

Body = TypeVar("Body")  # the kio entity of the newest version; an older entity may lack fields, or have others


class Request(Generic[Body]):
    """One request on a loop of the control plane. `body` is the kio entity; `respond` sends the response, now or later, once."""

    __slots__ = (
        "api_key",
        "api_version",
        "authorizer",
        "body",
        "body_size",
        "client_host",
        "client_id",
        "connection_id",
        "control",
        "correlation_id",
        "fail",
        "listener_index",
        "long_requests",
        "responded",
        "token_authenticated",
        "turn",
        "user",
    )

    def __init__(
        self,
        *,
        api_key: int,
        api_version: int,
        correlation_id: int,
        client_id: str | None,
        client_host: str,
        listener_index: int,
        connection_id: int,
        body: Body,
        control: ControlRequest,
        user: str | None = None,  # the name of its principal; None: anonymous
        token_authenticated: bool = False,  # the client has authenticated with a delegation token of that user
        body_size: int = 0,  # bytes of the encoded body
        long_requests: Callable[[Request[Any], Prepare], object] | None = None,  # LongRequests.add
        fail: Callable[[Request[Any], Exception], object] | None = None,  # Dispatcher.fail
        authorizer: Authorizer | None = None,  # None: everything is allowed (kafka_cy.api.authorization)
    ) -> None:
        self.api_key = api_key
        self.api_version = api_version
        self.correlation_id = correlation_id
        self.client_id = client_id
        self.client_host = client_host
        self.listener_index = listener_index
        self.connection_id = connection_id
        self.body = body
        self.control = control
        self.user = user
        self.token_authenticated = token_authenticated
        self.body_size = body_size
        self.long_requests = long_requests
        self.fail = fail
        self.authorizer = authorizer
        self.turn: LongRequest | None = None  # of a long request
        self.responded = False

    @property
    def client_software(self) -> tuple[str, str]:
        """Name and version from the client's ApiVersions request; "unknown" if there was none."""
        software: tuple[str, str] = self.control.client_software
        return software

    @property
    def connection_closed(self) -> bool:
        """Whether the connection has closed already; False once the request was answered."""
        return bool(self.control.connection_closed)

    @property
    def sender(self) -> dict[str, str]:
        """Who sent the request, for a line of the broker's log."""
        found = {"client_id": (self.client_id or "")[:LOGGED_ID_CHARS_MAX], "client": self.client_host}
        return found if self.user is None else {"user": self.user[:LOGGED_ID_CHARS_MAX], **found}

    def respond(self, response: Mapping[str, Any]) -> None:
        """Encode and send the response; a second call does nothing. A fault closes the connection.

        The response of a long request is encoded on another thread: it must not change any more.
        """
        if self.turn is not None:
            self.turn.build(self, lambda: response)
        else:
            try:
                self.send(response)
            except Exception as error:  # noqa: BLE001 it ends this request
                self._failed(error)

    def send(self, response: Mapping[str, Any]) -> None:
        """Encode and send the response on this thread. Raises ResponseTooLarge."""
        if not self.responded:
            errors: dict[int, int] = {}
            payload = bridge().encode_response(self.api_key, self.api_version, response, errors)
            self.responded = True
            self.control.respond(payload, errors)

    def respond_long(self, prepare: Prepare) -> None:
        """Respond with much data, when the turn of this request comes (server/long_requests.py).

        `prepare(ready)` runs on the loop's thread. It collects what the response shows, and calls `ready(make)` now or
        later. `make` runs on another thread: it builds the response from copies, or from what never changes in place.
        """
        if self.turn is not None:
            prepare(partial(self.turn.build, self))
        elif self.long_requests is not None:
            self.long_requests(self, prepare)
        else:
            prepare(lambda make: self.respond(make()))

    def send_encoded(self, payload: bytes, errors: Mapping[int, int]) -> None:
        """Send a response that is encoded already; `errors`: how often it has each error code. Any thread, once."""
        if not self.responded:
            self.responded = True
            self.control.respond(payload, errors)

    def end_turn(self) -> None:
        """Drop the body, and end the turn of a long request: from now on this request waits until other clients act.

        The handler has copied what it needs before, and the limits of the receiver bound these copies. No limit would count
        the body, which may occupy 20 times its encoded size for as long as the other clients do nothing.
        """
        self.body = cast("Body", None)
        self.body_size = 0
        if self.turn is not None:
            self.turn.end()
            self.turn = None

    def guarded(self, function: Callable[..., object]) -> Callable[..., None]:
        """`function`, for a callback: a fault in it ends this request as a fault of its handler does."""

        def call(*arguments: Any) -> None:
            try:
                function(*arguments)
            except Exception as error:  # noqa: BLE001 it ends this request
                self._failed(error)

        return call

    def _failed(self, error: Exception) -> None:
        if self.fail is None:
            raise error
        self.fail(self, error)

    def close(self, reason: str) -> None:
        """Answer by closing the connection."""
        if not self.responded:
            self.responded = True
            self.control.close(reason)
        if self.turn is not None:
            self.turn.end()


class ApiContext:
    """The parts of the broker that the handlers of one loop use; each handler sees its role only (kafka_cy.api.roles).

    docs/architecture.md says which thread owns which part.
    """

    __slots__ = (
        "acls",
        "advertised",
        "broker_id",
        "client_telemetry",
        "cluster",
        "cluster_id",
        "config",
        "config_changes",
        "create_topics",
        "delete_waits",
        "feature_changes",
        "groups",
        "log",
        "logs",
        "loop",
        "member",
        "producer_ids",
        "quorum",
        "quotas",
        "replicas",
        "share",
        "slices",
        "tokens",
        "topic_changes",
        "transactions",
    )

    def __init__(
        self,
        *,
        config: BrokerConfig,
        cluster: MetadataCache,
        topic_changes: TopicChanges,
        config_changes: ConfigChanges,
        feature_changes: FeatureChanges,
        quorum: Callable[[], Quorum],
        quotas: ClientQuotas,
        logs: LogManager,
        groups: GroupCoordinator,
        transactions: TransactionCoordinator,
        share: ShareService,
        producer_ids: ProducerIds,
        delete_waits: DeleteWaits,
        loop: ControlLoop,
        slices: Slices,
        broker_id: int,
        cluster_id: str,
        advertised: list[tuple[str, int]],  # host and port told to clients, by listener index
        log: BrokerLog,
        client_telemetry: Callable[[], ClientTelemetry],  # made at the first call
        create_topics: Callable[[Sequence[str], Request[Any], Callable[[], object]], object],  # see below
        member: Any = None,  # server.member_parts.Member
        acls: StoredAcls | None = None,
        tokens: StoredTokens | None = None,
    ) -> None:
        self.config = config
        self.cluster = cluster
        self.topic_changes = topic_changes
        self.config_changes = config_changes
        self.feature_changes = feature_changes
        self.quorum = quorum
        self.quotas = quotas
        self.logs = logs
        self.groups = groups
        self.transactions = transactions
        self.share = share
        self.producer_ids = producer_ids
        self.delete_waits = delete_waits
        self.loop = loop
        self.slices = slices  # long tasks of the loop
        self.broker_id = broker_id
        self.cluster_id = cluster_id
        self.advertised = advertised
        self.log = log
        self.client_telemetry = client_telemetry
        # Creates topics for a request on the controller loop, then calls back on the loop that it was called on, successful or not.
        self.create_topics = create_topics
        self.member: Any = member  # what only a member of a cluster has (server/cluster_member); None: this broker is by itself
        self.acls = acls  # None: there is no authorizer, and everything is allowed
        self.tokens = tokens  # None: delegation.token.secret.key is not set, and there are no delegation tokens
        self.replicas: Any = member.replicas if member is not None else None
