"""The reader of `.properties` text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_cy.config.properties import parse_properties


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("a=b", {"a": "b"}),
        ("a = b ", {"a": "b "}),
        ("  a\t:\tb", {"a": "b"}),
        ("a b", {"a": "b"}),
        ("a", {"a": ""}),
        ("a=", {"a": ""}),
        ("a==b", {"a": "=b"}),
        ("a = : b", {"a": ": b"}),
        ("=b", {"": "b"}),
        ("# a=b\n! c=d\n   # e=f", {}),
        ("a=1\na=2", {"a": "2"}),
        ("a=b#c", {"a": "b#c"}),
        ("a=b\\\n   c", {"a": "bc"}),
        ("a=b\\\\\nc=d", {"a": "b\\", "c": "d"}),
        ("a=b\\\n# no comment", {"a": "b# no comment"}),
        ("a=b\\\n\nc=d", {"a": "b", "c": "d"}),
        ("a=b\\", {"a": "b"}),
        ("a\\=b=c", {"a=b": "c"}),
        ("a\\ b\\:c d", {"a b:c": "d"}),
        ("a=\\t\\n\\r\\f\\q\\\\", {"a": "\t\n\r\fq\\"}),
        ("a=\\u00e4\\ud83d\\ude00", {"a": "ä😀"}),
        ("a=1\r\nb=2\rc=3", {"a": "1", "b": "2", "c": "3"}),
        ("listeners=PLAINTEXT://:9092", {"listeners": "PLAINTEXT://:9092"}),
        ("a=b\u2028c", {"a": "b\u2028c"}),
    ],
)
def test_examples(text: str, expected: dict[str, str]) -> None:
    assert parse_properties(text) == expected


@pytest.mark.parametrize("text", ["a=\\u12", "a=\\uzzzz", "\\u=b"])
def test_broken_escape_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="uXXXX"):
        parse_properties(text)


def format_properties(values: dict[str, str]) -> str:
    """Write properties as Java's Properties.store does."""
    return "".join(f"{escape(key, all_blanks=True)}={escape(value, all_blanks=False)}\n" for key, value in values.items())


def escape(text: str, *, all_blanks: bool) -> str:
    controls = {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\f": "\\f"}
    parts = []
    leading = True
    for character in text:
        if character == " ":
            parts.append("\\ " if all_blanks or leading else " ")
            continue
        leading = False
        parts.append("\\" + character if character in "\\=:#!" else controls.get(character, character))
    return "".join(parts)


texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)


@given(st.dictionaries(texts, texts, max_size=5))
def test_what_is_written_reads_back(values: dict[str, str]) -> None:
    assert parse_properties(format_properties(values)) == values


@given(st.text(max_size=200))
def test_any_text_parses_or_names_an_escape(text: str) -> None:
    try:
        parse_properties(text)
    except ValueError as error:
        assert "uXXXX" in str(error)
