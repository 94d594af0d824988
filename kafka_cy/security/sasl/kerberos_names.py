"""User names of Kerberos principals: `sasl.kerberos.principal.to.local.rules` (KerberosName, KerberosShortNamer, KerberosRule).

Expressions are Java's (see java_expression). What fails with each login in Kafka (a group or a component that does not exist in
any name, an expression that is none) is refused when the rules are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from kafka_cy.base.regular_expression import RegularExpression
from kafka_cy.security.java_expression import READ_DIFFERENTLY, Replacement, compile_java_expression

NAME_CHARS_MAX: Final = 1024  # of a principal; all matches in a name may take the square of its length

_NAME: Final = re.compile(r"([^/@]*)(/([^/@]*))?@([^/@]*)")
_RULE: Final = re.compile(
    r"((DEFAULT)|((RULE:\[(\d*):([^\]]*)](\(([^)]*)\))?(s/([^/]*)/([^/]*)/(g)?)?/?(L|U)?)))", re.ASCII
)
_PARAMETER: Final = re.compile(r"([^$]*)(\$(\d*))?", re.ASCII)
_INT_MAX: Final = 2**31 - 1


class NoLocalName(ValueError):
    """A principal has no user name: it is malformed, no rule applies to it, or a rule makes none of it."""


class KerberosName(NamedTuple):
    """The parts of a principal; None for those that it does not have."""

    service_name: str
    host_name: str | None = None
    realm: str | None = None

    def __str__(self) -> str:
        host = "" if self.host_name is None else f"/{self.host_name}"
        return self.service_name + host + ("" if self.realm is None else f"@{self.realm}")


def parse_kerberos_name(principal: str) -> KerberosName:
    """`service[/host][@realm]`. Raises NoLocalName."""
    found = _NAME.fullmatch(principal)
    if found is not None:
        return KerberosName(found[1], found[3], found[4])
    if "@" in principal:
        raise NoLocalName(f"Malformed Kerberos name: {principal}")
    return KerberosName(principal)


class KerberosShortNamer:
    """Rules in their order. Immutable; any thread."""

    def __init__(self, default_realm: str, rules: Iterable[str]) -> None:
        """Raises ValueError with Kafka's reason, or ours where an expression is the problem."""
        self._rules = [_parse(default_realm, rule) for rule in rules]

    def short_name(self, name: KerberosName) -> str:
        """Of the first rule that applies. Raises NoLocalName."""
        if name.host_name is None and name.realm is None:
            return name.service_name
        if len(str(name)) > NAME_CHARS_MAX:
            raise NoLocalName(f"a principal of more than {NAME_CHARS_MAX} characters")
        components = [name.realm or "", name.service_name]
        if name.host_name is not None:
            components.append(name.host_name)
        for rule in self._rules:
            found = rule.apply(components)
            if found is not None:
                return found
        raise NoLocalName(f"No rules apply to {name}, rules [{', '.join(map(str, self._rules))}]")


class _Default:
    """The first component of principals of one's own realm, whatever else they have."""

    def __init__(self, realm: str) -> None:
        self._realm = realm

    def __str__(self) -> str:
        return "DEFAULT"

    def apply(self, components: list[str]) -> str | None:
        return _simple(components[1], "DEFAULT") if components[0] == self._realm else None


class _Rule:
    """`RULE:[n:format](match)s/from/to/g` with `/L` or `/U`, for principals with n components."""

    def __init__(self, found: re.Match[str]) -> None:
        self._text = found[0]
        self._count = _integer(found[5])
        self._format = _format(found[6], self._count)
        self._match = None if found[8] is None else compile_java_expression(found[8])
        self._from: RegularExpression | None = None
        if found[10] is not None:
            self._from = compile_java_expression(found[10])
            self._to = Replacement(found[11], self._from.groups, self._from.group_names)
        self._is_repeated, self._case = found[12] is not None, found[13]

    def __str__(self) -> str:
        return self._text

    def apply(self, components: list[str]) -> str | None:
        """None: it does not apply. Raises NoLocalName."""
        if len(components) - 1 != self._count:
            return None
        base = "".join(part if isinstance(part, str) else components[part] for part in self._format)
        if (self._match is not None or self._from is not None) and READ_DIFFERENTLY.search(base):
            return None
        if self._match is not None and not self._match.matches(base):
            return None
        result = base
        if self._from is not None:
            replace = self._from.replace_all if self._is_repeated else self._from.replace_first
            result = replace(base, self._to.filled)
        _simple(result, self._text)
        return result.lower() if self._case == "L" else result.upper() if self._case == "U" else result


def _parse(default_realm: str, text: str) -> _Default | _Rule:
    found = _RULE.match(text)
    if found is None:
        raise ValueError(f"Invalid rule: {text}")
    if found.end() != len(text):
        raise ValueError(f"Invalid rule: `{text}`, unmatched substring: `{text[found.end() :]}`")
    if found[2] is not None:
        return _Default(default_realm)
    try:
        return _Rule(found)
    except ValueError as error:
        raise ValueError(f"Invalid rule: `{text}`, {error}") from None


def _format(text: str, count: int) -> list[str | int]:
    """The texts and numbers of components in a format."""
    parts: list[str | int] = []
    at = 0
    while at < len(text):
        found = _PARAMETER.match(text, at)
        assert found is not None  # it also matches nothing
        parts.append(found[1])
        if found[3] is not None:
            number = _integer(found[3], "bad format in username mapping in ")
            if number > count:
                raise ValueError(f"index {number} from {text} is outside of the valid range 0 to {count}")
            parts.append(number)
        at = found.end()
    return parts


def _integer(digits: str, before: str = "") -> int:
    """Java's Integer.parseInt. Raises ValueError."""
    if not digits or len(digits) > 4000 or int(digits) > _INT_MAX:
        raise ValueError(before + (digits if before else f'For input string: "{digits}"'))
    return int(digits)


def _simple(name: str, rule: str) -> str:
    if "/" in name or "@" in name:
        raise NoLocalName(f"Non-simple name {name} after auth_to_local rule {rule}")
    return name
