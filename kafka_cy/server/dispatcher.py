"""Passes requests from the network's control queue to the cold handlers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kafka_cy.api.context import ApiContext, Request
from kafka_cy.api.registry import APIS, Api, Handle, cold_handler
from kafka_cy.protocol.at_first_use import bridge
from kafka_cy.server.log import BrokerLog
from kafka_cy.server.long_requests import ELEMENTS_FEW, LongRequests

if TYPE_CHECKING:
    from kafka_cy.network.control_request import ControlRequest

SHARE_KEYS = (78, 79)  # ShareFetch, ShareAcknowledge
COMMIT_KEYS = (8, 28)  # OffsetCommit, TxnOffsetCommit
FAULT = "the broker failed to handle the request"


def api_name(row: Api) -> str:
    """Return Kafka's name of a cold API."""
    return row.module.removeprefix("member_").title().replace("_", "").removesuffix("Cold")


class Dispatcher:
    """Decodes a request, calls its handler, responds. A handler's fault closes the connection, not the broker.

    The network layer logs which client was closed and why, at a limited rate.
    """

    def __init__(self, context: ApiContext, log: BrokerLog, apis: Mapping[int, Api] = APIS) -> None:
        self._apis = apis
        self._handlers: dict[int, Handle] = {}  # those that were called already
        self._context = context
        self._log = log
        self._elements_max = int(context.config["kafkacy.control.request.max.elements"])
        self._authorizer = context.acls.authorizer if context.acls is not None else None
        self._long_requests = LongRequests(context.loop, self._decode_long, self._handle, self._fail)

    def stop(self) -> None:
        """End the thread of long requests, and drop their tasks; the loop has ended."""
        self._context.slices.stop()
        self._long_requests.stop()

    def dispatch(self, control: ControlRequest) -> None:
        """Answer one ControlRequest, or a reactor's question, with `respond` or `close`: now, or later if the handler keeps it."""
        control.begin()
        try:
            if control.is_question:
                self._answer_question(control)
            else:
                self._dispatch(control)
        finally:
            control.handled()

    def _answer_question(self, control: ControlRequest) -> None:
        from kafka_cy.api import produce_question, share_question  # at first use: not needed at start

        answer = share_question.answer if control.api_key in SHARE_KEYS else produce_question.answer
        try:
            answer(control, self._context)
        except Exception as error:  # noqa: BLE001 any fault ends here: the question counts as unanswered
            self._log_fault(control, error)
            if not control.answered:
                control.close(FAULT)

    def _dispatch(self, control: ControlRequest) -> None:
        row = self._apis.get(control.api_key)
        if row is None or not row.module or not row.version_min <= control.api_version <= row.version_last:
            control.close("unsupported API key or version")
            return
        elements_max = min(ELEMENTS_FEW, self._elements_max)
        encoded = control.body
        if row.encoded:
            self._handle(self._request(control, encoded, len(encoded)))
            return
        is_commit = control.api_key in COMMIT_KEYS
        if is_commit and self._long_requests.has_ordered(control.connection_id):
            self._long_requests.add_encoded(control, len(encoded), in_order=True)
            return
        try:
            request = self._decode(control, encoded, elements_max)
        except bridge().TooManyElements as error:
            if elements_max < self._elements_max:
                self._long_requests.add_encoded(control, len(encoded), in_order=is_commit)
            else:
                control.close(f"malformed request: {error}")
            return
        if request is not None:
            self._handle(request)

    def _decode_long(self, control: ControlRequest) -> Request[Any] | None:
        """Decode a request with many elements, on the thread of long requests. None: its connection was closed."""
        try:
            return self._decode(control, control.body, self._elements_max)
        except bridge().TooManyElements as error:
            control.close(f"malformed request: {error}")
        except Exception as error:  # noqa: BLE001 a fault costs only this request
            self._log_fault(control, error)
            control.close(FAULT)
        return None

    def _decode(self, control: ControlRequest, encoded: bytes, elements_max: int) -> Request[Any] | None:
        """Return the decoded request. None: it was malformed, and its connection was closed. Raises TooManyElements."""
        key, version = control.api_key, control.api_version
        try:
            body = bridge().decode_request(key, version, encoded, elements_max)
        except bridge().TooManyElements:
            raise
        except bridge().MalformedRequest as error:
            control.close(f"malformed request: {error}")
            return None
        return self._request(control, body, len(encoded))

    def _request(self, control: ControlRequest, body: Any, body_size: int) -> Request[Any]:
        control.release_body()
        return Request(
            api_key=control.api_key,
            api_version=control.api_version,
            correlation_id=control.correlation_id,
            client_id=control.client_id,
            client_host=control.client_host,
            listener_index=control.listener_index,
            connection_id=control.connection_id,
            body=body,
            control=control,
            user=control.principal,
            token_authenticated=control.token_authenticated,
            body_size=body_size,
            long_requests=self._long_requests.add,
            fail=self._fail,
            authorizer=self._authorizer,
        )

    def _handle(self, request: Request[Any]) -> None:
        if self._log.writes_debug:
            self._log.debug("request", api=api_name(self._apis[request.api_key]), version=request.api_version, **request.sender)
        try:
            handle = self._handlers.get(request.api_key) or self._find_handler(request.api_key)
            answer = handle(request, self._context)
            if answer is not None:
                request.respond(answer)
        except Exception as error:  # noqa: BLE001 any fault of a handler ends here
            self._fail(request, error)

    def _find_handler(self, api_key: int) -> Handle:
        handle = cold_handler(api_key, self._apis)
        assert handle is not None, "an API without a handler"
        self._handlers[api_key] = handle
        return handle

    def _fail(self, request: Request[Any], error: Exception) -> None:
        """Close the connection of a request that failed. Any thread."""
        from kafka_cy.protocol.encoder import ResponseTooLarge

        if isinstance(error, ResponseTooLarge):
            request.close(str(error))
            return
        self._log_fault(request.control, error)
        request.close(FAULT)

    def _log_fault(self, control: ControlRequest, error: Exception) -> None:
        import traceback

        details = {
            "api_key": control.api_key,
            "version": control.api_version,
            "client": f"{control.client_host}:{control.client_port}",
            "error": repr(error),
            "where": "".join(traceback.format_exception(error)[-3:]),
        }
        self._log.repeated("error", "a request failed because of an error in the broker", details, control.client_host)
