from collections.abc import Sequence
from typing import Any

from kafka_cy.share.in_flight_values import Acknowledgement

class Acknowledgements:
    """What a member says about its records of one share partition, as C data: there may be thousands."""

    def __init__(self, rows: Sequence[Acknowledgement] = ()) -> None: ...
    def __len__(self) -> int: ...
    @staticmethod
    def of_request(rows: Sequence[Any]) -> Acknowledgements:
        """Of `acknowledgement_batches` of a request."""
    @property
    def renew(self) -> bool:
        """Whether one of them is Renew."""
    def are_valid(self, is_renewal: bool) -> bool:
        """Whether they are in order, and have one type for all records or one for each."""
