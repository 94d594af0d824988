"""What brokers send each other about transactions, byte for byte as Apache Kafka 3.9.2 and 2.6 sent and answered it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_cy.protocol.broker_messages.add_partitions_to_txn import (
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
    VerifiedTransaction,
)
from kafka_cy.protocol.broker_messages.write_txn_markers import (
    TxnMarker,
    WriteTxnMarkersRequest,
    WriteTxnMarkersResponse,
)
from kafka_cy.protocol.decoder import MalformedRequest


@pytest.mark.parametrize(
    ("version", "marker", "request_hex", "response_hex"),
    [
        (
            1, TxnMarker(0, 0, True, 0, [("t1", 2)]),
            "02000000000000000000000102037431020000000200000000000000", "020000000000000000020374310200000002000000000000",
        ),
        (
            0, TxnMarker(2000, 1, False, 1, [("t1", 1), ("t1", 0)]),
            "0000000100000000000007d0000100000000010002743100000002000000010000000000000001",
            "0000000100000000000007d0000000010002743100000002000000010000000000000000 0000",
        ),
    ],
)  # fmt: skip
def test_markers(version: int, marker: TxnMarker, request_hex: str, response_hex: str) -> None:
    if version == 1:
        assert WriteTxnMarkersRequest([marker]).encode(1).hex() == request_hex
        response = WriteTxnMarkersResponse.decode(1, bytes.fromhex(response_hex))
        assert response.errors == {0: {("t1", 2): 0}}
    else:
        assert WriteTxnMarkersRequest([marker]).encode(0).hex() == request_hex
        response = WriteTxnMarkersResponse.decode(0, bytes.fromhex(response_hex))
        assert response.errors == {2000: {("t1", 1): 0, ("t1", 0): 0}}


def test_verification() -> None:
    request = AddPartitionsToTxnRequest([VerifiedTransaction("tx1", 0, 0, [("t1", 2)])])
    assert request.encode(5).hex() == "020474783100000000000000000000010203743102000000020000 00".replace(" ", "")
    body = bytes.fromhex("00000000 0000 0204747831 0203743102 00000002 0000 00 00 00 00".replace(" ", ""))
    assert AddPartitionsToTxnResponse.decode(5, body) == AddPartitionsToTxnResponse(0, {"tx1": {("t1", 2): 0}})


@given(st.binary(max_size=80), st.sampled_from([0, 1]))
def test_hostile_responses(data: bytes, version: int) -> None:
    """Whatever a broker answers is a response, or is refused."""
    for read, of_version in ((WriteTxnMarkersResponse.decode, version), (AddPartitionsToTxnResponse.decode, 4 + version)):
        try:
            read(of_version, data)
        except MalformedRequest:
            pass
