"""Distinguished names: the text must be Java's, character by character."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from kafka_cy.security.distinguished_name import java_name

# DER of names, and what X500Principal.getName() of OpenJDK 17 made of them: escapes, kinds of strings, broken UTF-8, unknown
# attributes, several attributes in one part.
CASES = [json.loads(line) for line in Path(__file__).with_name("java_names.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("der", "text"), CASES, ids=[str(number) for number in range(len(CASES))])
def test_the_text_is_that_of_java(der: str, text: str) -> None:
    assert java_name(bytes.fromhex(der)) == text


def test_what_is_no_name_is_refused() -> None:
    wrong = ("", "30", "3001", "0500", "30020500", "310c300a06035504030c0161", "3000" * 2, "30053103300106")
    for der in (*wrong, "3009310730050603550403"):
        with pytest.raises(ValueError):
            java_name(bytes.fromhex(der))


def test_damaged_names_are_read_or_refused() -> None:
    chance = random.Random(1)
    for der, _ in CASES:
        data = bytearray.fromhex(der)
        for _ in range(200):
            damaged = bytearray(data)
            for _ in range(chance.randrange(1, 4)):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            try:
                java_name(bytes(damaged[: chance.randrange(len(damaged) + 1)]))
            except ValueError:
                pass


def test_a_giant_object_identifier_is_refused() -> None:
    """Java refuses it, too. Its decimal digits would take the square of its length."""
    kind = b"\x06\x82\x0b\xb8" + b"\xff" * 2999 + b"\x7f"
    with pytest.raises(ValueError, match="4300 digits"):
        java_name(nested(0x30, nested(0x31, nested(0x30, kind + b"\x0c\x01a"))))


def nested(tag: int, content: bytes) -> bytes:
    return bytes((tag, 0x82)) + len(content).to_bytes(2) + content
