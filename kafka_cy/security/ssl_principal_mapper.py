"""`ssl.principal.mapping.rules`: the name of a user from the distinguished name in a certificate (SslPrincipalMapper, KIP-371).

The expressions are Java's (see java_expression). No RULE applies to names with characters that RE2 would read differently.
"""

from __future__ import annotations

import re
from typing import Final

from kafka_cy.base.regular_expression import RegularExpression
from kafka_cy.security.java_expression import READ_DIFFERENTLY, Replacement, compile_java_expression

NAME_CHARS_MAX: Final = 16_384  # of a distinguished name, and of what a rule makes of it

_RULE: Final = r"(DEFAULT)|RULE:((\\.|[^\\/])*)/((\\.|[^\\/])*)/([LU]?).*?|(.*?)"
_SPLITTER: Final = re.compile(rf"\s*({_RULE})\s*(,\s*|$)", re.ASCII)
_PARSER: Final = re.compile(_RULE, re.ASCII)
_BLANKS: Final = "".join(map(chr, range(33)))  # what Java's trim() removes
_BACK_REFERENCE: Final = re.compile(r"\$([0-9]+)")


class NoMatchingRule(LookupError):
    """No rule applies to the name: its owner may not connect (never as User:ANONYMOUS)."""


class SslPrincipalMapper:
    """Rules in their order. Immutable; any thread."""

    def __init__(self, rules: str) -> None:
        """Raises ValueError with Kafka's reason, or ours where the expression is the problem."""
        self._rules = [_Rule(*parts) for text in _split(rules) if (parts := _parse(text)) is not None]

    def name(self, distinguished_name: str) -> str:
        """Of the first rule that applies. Raises NoMatchingRule."""
        for rule in self._rules:
            found = rule.apply(distinguished_name)
            if found is not None:
                return found
        raise NoMatchingRule(f"No rules apply to {distinguished_name}, rules [{', '.join(map(str, self._rules))}]")


def _split(rules: str) -> list[str]:
    return [found[1] for found in _SPLITTER.finditer(rules.strip(_BLANKS))]


def _parse(rule: str) -> tuple[str, str | None, str, str] | None:
    """The text, the expression (None: DEFAULT), the replacement and L or U; None for an empty rule."""
    found = _PARSER.match(rule)
    assert found is not None  # it also matches nothing
    if found.end() != len(rule):
        raise ValueError(f"Invalid rule: `{rule}`, unmatched substring: `{rule[found.end() :]}`")
    if found[1] is not None:
        return "DEFAULT", None, "", ""
    if found[2] is None:
        return None
    return f"RULE:{found[2]}/{found[4]}" + (f"/{found[6]}" if found[6] else ""), found[2], found[4], found[6]


class _Rule:
    def __init__(self, text: str, expression: str | None, replacement: str, case: str) -> None:
        self._text, self._case = text, case
        self._expression: RegularExpression | None = None
        self._replacement = Replacement("", 0, {})
        if expression is not None:
            self._expression = compile_java_expression(expression)
            groups, names = self._expression.groups, self._expression.group_names
            try:
                self._replacement = Replacement(_escape_unknown_groups(replacement, groups), groups, names)
            except ValueError as error:
                raise ValueError(f"Invalid rule: `{text}`, {error}") from None

    def __str__(self) -> str:
        return self._text

    def apply(self, name: str) -> str | None:
        """None: it does not match."""
        if self._expression is None:
            return name
        if READ_DIFFERENTLY.search(name) or not self._expression.matches(name):
            return None
        # As in Kafka: the whole name matches, and then each match in it is replaced.
        result = self._expression.replace_all(name, self._replacement.filled)
        if self._case:
            result = result.lower() if self._case == "L" else result.upper()
        return result


def _escape_unknown_groups(replacement: str, groups: int) -> str:
    """References to groups that do not exist stay as text, as far as Kafka's escapeLiteralBackReferences succeeds in it."""
    if groups == 0:
        return replacement
    result = replacement
    for found in _BACK_REFERENCE.finditer(replacement):
        if found[1].startswith("0"):
            continue
        number = int(found[1])
        while number > groups and number >= 10:
            number //= 10
        if number > groups:
            at = found.start(1) - 1  # of the original text, also in one that has grown
            result = result[:at] + "\\" + result[at:]
    return result
