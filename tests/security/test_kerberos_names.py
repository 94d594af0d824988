"""User names of Kerberos principals, as Kafka 4.3.1's KerberosShortNamer makes them (tests/interop/kafka/KerberosNames.java)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kafka_cy.security.sasl.kerberos_names import (
    NAME_CHARS_MAX,
    KerberosName,
    KerberosShortNamer,
    NoLocalName,
    parse_kerberos_name,
)

REALM = "R.EXAMPLE"
GOLDEN = json.loads((Path(__file__).parent / "kerberos_names.json").read_text("utf-8"))


def outcome(name: str, rules: list[str]) -> tuple[str, str]:
    try:
        namer = KerberosShortNamer(REALM, rules)
    except ValueError as error:
        return "rules", str(error)
    try:
        return "name", namer.short_name(parse_kerberos_name(name))
    except NoLocalName as error:
        return "fails", str(error)


def test_names_are_kafkas() -> None:
    """Rules that fail with some names in Kafka are refused here, even if another rule applies to this name."""
    equal = 0
    for name, rules, kind, text in GOLDEN:
        ours, our_text = outcome(name, rules)
        if kind == "rules":
            assert ours == "rules", (name, rules, text)
        elif ours != "rules":
            assert (ours, our_text if ours == "name" else "") == (kind, text if kind == "name" else ""), (name, rules)
            equal += 1
    assert equal > 100


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        ("default", "Invalid rule: default"),
        ("RULE:[1:$1]/LU", "Invalid rule: `RULE:[1:$1]/LU`, unmatched substring: `U`"),
        ("RULE:[:$1]", 'Invalid rule: `RULE:[:$1]`, For input string: ""'),
        ("RULE:[1:$2]", "Invalid rule: `RULE:[1:$2]`, index 2 from $2 is outside of the valid range 0 to 1"),
        ("RULE:[1:$]", "Invalid rule: `RULE:[1:$]`, bad format in username mapping in "),
        ("RULE:[1:$1]s/a/$1/", "Invalid rule: `RULE:[1:$1]s/a/$1/`, No group 1"),
    ],
)
def test_refused_rules(rule: str, error: str) -> None:
    assert outcome("ann@R.EXAMPLE", [rule]) == ("rules", error)


def test_expressions_that_take_java_for_ever() -> None:
    with pytest.raises(NoLocalName, match="more than"):
        KerberosShortNamer(REALM, ["DEFAULT"]).short_name(KerberosName("a" * NAME_CHARS_MAX, None, REALM))
    namer = KerberosShortNamer(REALM, ["RULE:[1:$1](a*a*a*a*a*a*b)", "DEFAULT"])
    assert namer.short_name(KerberosName("a" * 1000, None, REALM)) == "a" * 1000


def test_names() -> None:
    assert parse_kerberos_name("kafka/h@R") == ("kafka", "h", "R")
    assert str(parse_kerberos_name("kafka/h@R")) == "kafka/h@R" and str(parse_kerberos_name("ann")) == "ann"
    assert outcome("a/b/c@R", ["DEFAULT"]) == ("fails", "Malformed Kerberos name: a/b/c@R")
    assert outcome("ann@OTHER", ["DEFAULT"]) == ("fails", "No rules apply to ann@OTHER, rules [DEFAULT]")
    assert outcome("ann@R.EXAMPLE", ["RULE:[1:$1@$0]"]) == (
        "fails",
        "Non-simple name ann@R.EXAMPLE after auth_to_local rule RULE:[1:$1@$0]",
    )
