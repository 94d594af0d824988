"""`ssl.principal.mapping.rules`: what SslPrincipalMapper of Apache Kafka 4.3.1 (3.9.2 is the same) made of each row."""

from __future__ import annotations

import pytest

from kafka_cy.security.ssl_principal_mapper import NAME_CHARS_MAX, NoMatchingRule, SslPrincipalMapper

DUKE = "CN=Duke,OU=JavaSoft,O=Sun Microsystems,C=US"
SHORT = r"RULE:^CN=(.*?),.*$/"


@pytest.mark.parametrize(
    ("rules", "name"),
    [
        ("DEFAULT", DUKE),
        (f"{SHORT}$1/", "Duke"),
        (f"{SHORT}$1/L", "duke"),
        (f"{SHORT}$1/U", "DUKE"),
        ("RULE:x/y/, DEFAULT", DUKE),
        ("RULE:x/y/ ,\n DEFAULT,", DUKE),
        ("RULE:.*/x/", "xx"),  # all matches are replaced, and the second one is empty
        ("RULE:(.*)/x$1/", f"x{DUKE}x"),
        (f"{SHORT}$1@$2/", "Duke@$2"),
        (f"{SHORT}$12/", "Duke2"),
        (f"{SHORT}$100/", "Duke00"),
        (f"{SHORT}$01/", "Duke"),
        (f"{SHORT}$0/", DUKE),
        ("RULE:^CN=(?<x>.*?),.*$/${x}/", "Duke"),
        (rf"{SHORT}a\/b/", "a/b"),
        (rf"{SHORT}a\b\$1/", "ab$1"),
        (rf"{SHORT}a\\/", "a\\"),
        (f"{SHORT}/", ""),
        (r"RULE:CN=\w+,.*/x/ , RULE:.*/y/", "x"),
        ("RULE:^CN=(.*?),OU=(.*?),O=(.*?),C=(.*?)$/$1@$2/L", "duke@javasoft"),
        ("RULE:^cn=(.*?),ou=(.*?),dc=(.*?)$/$1@$2/U,RULE:^.*[Cc][Nn]=([a-zA-Z0-9.]*).*$/$1/L,DEFAULT", "duke"),
        ("RULE:^CN=(.*)(,OU.*)$/$1,$2/", "Duke,,OU=JavaSoft,O=Sun Microsystems,C=US"),
        ("RULE:([A-Z]+=[^,]+(?:,|$))+/$1;/", "C=US;"),
        ("RULE:[^,]*(?:,[^,]*)*/z/", "zz"),
        ("RULE:(.*?)(x)?/$2$1/", DUKE),
        ("RULE:(C|CN)=.*/$1/", "CN"),
    ],
)
def test_names(rules: str, name: str) -> None:
    assert SslPrincipalMapper(rules).name(DUKE) == name


@pytest.mark.parametrize(
    ("rules", "shown"),
    [
        ("", ""),
        (" ", ""),
        ("RULE:nomatch/y/,", "RULE:nomatch/y"),
        ("RULE:a/b/L , RULE:DEFAULT/c/U", "RULE:a/b/L, RULE:DEFAULT/c/U"),
    ],
)
def test_no_rule_applies(rules: str, shown: str) -> None:
    with pytest.raises(NoMatchingRule) as raised:
        SslPrincipalMapper(rules).name(DUKE)
    assert str(raised.value) == f"No rules apply to {DUKE}, rules [{shown}]"


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        (f"{SHORT}$1/LU", f"Invalid rule: `{SHORT}$1/LU`, unmatched substring: `U`"),
        (f"{SHORT}$1", "Invalid rule: `RULE:^CN=(.*?)`, unmatched substring: `RULE:^CN=(.*?)`"),
        (rf"{SHORT}$1\\", "Invalid rule: `RULE:^CN=(.*?)`, unmatched substring: `RULE:^CN=(.*?)`"),
        ("RULE:a/b", "Invalid rule: `RULE:a/b`, unmatched substring: `RULE:a/b`"),
        ("default", "Invalid rule: `default`, unmatched substring: `default`"),
        ("DEFAULT foo", "Invalid rule: `DEFAULT foo`, unmatched substring: ` foo`"),
        ("RULE:CN=(.*)/$1/X", "Invalid rule: `RULE:CN=(.*)/$1/X`, unmatched substring: `X`"),
        ("RULE://x/", "Invalid rule: `RULE://x/`, unmatched substring: `x/`"),
        ("RULE:x//y//", "Invalid rule: `RULE:x//y//`, unmatched substring: `y//`"),
        ("DEFAULT,RULE:x", "Invalid rule: `RULE:x`, unmatched substring: `RULE:x`"),
    ],
)
def test_rules_that_kafka_refuses(rules: str, reason: str) -> None:
    with pytest.raises(ValueError) as raised:
        SslPrincipalMapper(rules)
    assert str(raised.value) == reason


@pytest.mark.parametrize(
    ("replacement", "reason"),
    [
        ("$1@$2$3", "No group 3"),  # as in Kafka: the second group that does not exist is not found to be one
        ("${x}", "No group with name {x}"),
        ("${x", "No group with name {"),
        ("$", "Illegal group reference: group index is missing"),
        ("$x", "Illegal group reference"),
    ],
)
def test_replacements_that_kafka_refuses_with_each_connection(replacement: str, reason: str) -> None:
    with pytest.raises(ValueError) as raised:
        SslPrincipalMapper(f"{SHORT}{replacement}/")
    assert str(raised.value).startswith(f"Invalid rule: `{SHORT}{replacement}`, {reason}")
    with pytest.raises(ValueError, match="No group 1"):
        SslPrincipalMapper("RULE:^CN=.*$/$1/")


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("(a", "missing )"),
        ("a*+", "bad repetition operator"),
        ("(?=a)b", "invalid perl operator"),
        (r"(a)\1", r"\1"),
        (r"\vA", r"\v"),
        (r"[\v]", r"\v in a class"),
        (r"\C", r"\C"),
        ("[a[b]]", "[b in a class"),
        ("[a-z&&b]", "&&"),
        ("[^]&&]", "&&"),
        ("(?U)a", "(?U"),
        ("(?iU:a)", "(?iU"),
        ("(?P<x>a)", "(?P"),
        ("(?i)é", "beyond ASCII"),
        (r"\Qa.\E[[]", "[] in a class"),
        (r"\h", "invalid escape sequence"),
    ],
)
def test_expressions_that_java_reads_in_another_way_are_refused(expression: str, reason: str) -> None:
    with pytest.raises(ValueError) as raised:
        SslPrincipalMapper(f"RULE:{expression}/x/")
    assert "is not a regular expression of Java that RE2 can evaluate" in str(raised.value) and reason in str(raised.value)


@pytest.mark.parametrize("expression", [r"\Q[a&&[\E.*", r"[]a].*|CN.*", r"[^]].*", r"(?i)cn=.*", r"\[?CN.*", r"[&x&C].*", "ü?CN.*"])
def test_expressions_that_look_alike_are_not(expression: str) -> None:
    try:
        SslPrincipalMapper(f"RULE:{expression}/x/").name("CN=a")
    except NoMatchingRule:
        assert expression.startswith(r"\Q")


@pytest.mark.parametrize("character", ["\n", "\r", "\v", "\x85", "\u2028", "\u2029", "\u212a", "\u017f"])
def test_characters_that_both_read_differently_match_no_rule(character: str) -> None:
    mapper = SslPrincipalMapper("RULE:[^,]*/x/, DEFAULT")
    assert mapper.name("CN=a") == "xx" and mapper.name(f"CN=a{character}") == f"CN=a{character}"


def test_letters_change_their_case_as_in_java() -> None:
    assert SslPrincipalMapper("RULE:^CN=(.*)$/$1/U").name("CN=straße é") == "STRASSE É"
    assert SslPrincipalMapper("RULE:^CN=(.*)$/$1/L").name("CN=İΑΣ") == "i̇ας"


def test_expressions_that_take_java_exponential_time_are_linear() -> None:
    name = "CN=" + "a" * 2000 + "!"
    for expression in ("(a*)*b", "CN=(a|a)*", "(.*)*x"):
        with pytest.raises(NoMatchingRule):
            SslPrincipalMapper(f"RULE:{expression}/x/").name(name)
    assert len(SslPrincipalMapper("RULE:.*/xy/").name("a" * NAME_CHARS_MAX)) == 4
