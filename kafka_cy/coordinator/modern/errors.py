"""Why a request of a member is refused."""

from __future__ import annotations

from kafka_cy.protocol.errors import ErrorCode


class GroupError(Exception):
    """Raised by operations before anything has changed; the response carries the code and the text."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
