"""Passes requests from the network's control queue to the cold handlers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka_cy.api.context import ApiContext, Request
from kafka_cy.api.registry import COLD_APIS, cold_handler
from kafka_cy.server.log import BrokerLog
from kafka_cy.server.long_responses import LongResponses

if TYPE_CHECKING:
    from kafka_cy.network.server import ControlRequest


def api_name(api_key: int) -> str:
    """Return Kafka's name of a cold API."""
    return COLD_APIS[api_key].module.title().replace("_", "").removesuffix("Cold")


class Dispatcher:
    """Decodes a request, calls its handler, responds. A handler's fault closes the connection, not the broker.

    The network layer logs which client was closed and why, at a limited rate.
    """

    def __init__(self, context: ApiContext, log: BrokerLog) -> None:
        self._context = context
        self._log = log
        self._elements_max = int(context.config["kafkacy.control.request.max.elements"])
        self._long_responses = LongResponses(context.loop, self._fail)

    def stop(self) -> None:
        """End the thread of long responses; the loop has ended."""
        self._long_responses.stop()

    def dispatch(self, control: ControlRequest) -> None:
        """Answer one ControlRequest with `respond` or `close`: now, or later if the handler keeps it."""
        control.begin()
        try:
            self._dispatch(control)
        finally:
            control.handled()

    def _dispatch(self, control: ControlRequest) -> None:
        from kafka_cy.protocol.bridge import MalformedRequest, decode_request  # at first use: not needed at start

        key, version = control.api_key, control.api_version
        row = COLD_APIS.get(key)
        handle = cold_handler(key)
        if row is None or handle is None or not row.version_min <= version <= row.version_max:
            control.close("unsupported API key or version")
            return
        try:
            body = decode_request(key, version, control.body, self._elements_max)
            control.release_body()
        except MalformedRequest as error:
            control.close(f"malformed request: {error}")
            return
        request = Request(
            api_key=key,
            api_version=version,
            correlation_id=control.correlation_id,
            client_id=control.client_id,
            client_host=control.client_host,
            listener_index=control.listener_index,
            connection_id=control.connection_id,
            body=body,
            control=control,
            long_responses=self._long_responses.add,
        )
        if self._log.writes_debug:
            self._log.debug("request", api=api_name(key), version=version, **request.sender)
        try:
            answer = handle(request, self._context)
            if answer is not None:
                request.respond(answer)
        except Exception as error:  # noqa: BLE001 any fault of a handler ends here
            self._fail(request, error)

    def _fail(self, request: Request[Any], error: Exception) -> None:
        """Close the connection of a request that failed. Any thread."""
        from kafka_cy.protocol.encoder import ResponseTooLarge

        if isinstance(error, ResponseTooLarge):
            request.close(str(error))
            return
        import traceback

        details = {
            "api_key": request.api_key,
            "version": request.api_version,
            "client": f"{request.client_host}:{request.control.client_port}",
            "error": repr(error),
            "where": "".join(traceback.format_exception(error)[-3:]),
        }
        self._log.repeated("error", "a request failed because of an error in the broker", details, request.client_host)
        request.close("the broker failed to handle the request")
