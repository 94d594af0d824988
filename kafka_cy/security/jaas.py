"""JAAS texts: which login modules a listener has, with their options.

Two grammars, both over Java's StreamTokenizer: Kafka's own for the value of `sasl.jaas.config` (JaasConfig), and the JDK's for a
file (sun.security.provider.ConfigFile). Option values are secrets, and what an error shows of a text is never a value.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from kafka_cy.security.java_tokens import END, QUOTED, WORD, Token, Tokens
from kafka_cy.security.secret import HIDDEN, Secret

FLAGS: Final = ("REQUIRED", "REQUISITE", "SUFFICIENT", "OPTIONAL")
TEXT_CHARS_MAX: Final = 4 << 20

_LETTERS: Final = "-_$"
_FILE_LETTERS: Final = "-_$*"


class JaasError(Exception):
    """A JAAS text that is malformed. The message has Kafka's (or the JDK's) wording, without any value."""


class LoginModule(NamedTuple):
    """One login module: the class, the control flag in upper case, and the options; of a repeated option the last one counts."""

    name: str
    flag: str
    options: dict[str, Secret]

    def option(self, name: str) -> str | None:
        """The value of an option; None if it is not there."""
        secret = self.options.get(name)
        return None if secret is None else secret.reveal()


def parse_entry(text: str) -> LoginModule:
    """The login module in the value of `sasl.jaas.config`. Raises JaasError."""
    _check_size(text)
    tokens = Tokens(text, _LETTERS)
    modules = []
    token = tokens.next()
    while token.kind != END:
        modules.append(_entry(tokens, token))
        token = tokens.next()
    if not modules:
        raise JaasError("Login module not specified in JAAS config")
    if len(modules) != 1:
        raise JaasError(f"JAAS config property contains {len(modules)} login modules, should be 1 module")
    return modules[0]


def _entry(tokens: Tokens, first: Token) -> LoginModule:
    if not first.text:
        raise JaasError("Login module not specified in JAAS config")
    token = tokens.next()
    if token.kind == END:
        raise JaasError("Login module control flag not specified in JAAS config")
    if token.text is None:
        raise JaasError("Login module control flag is not available in the JAAS config")
    flag = token.text.upper()
    if flag not in FLAGS:
        shown = token.text if token.kind == WORD else HIDDEN
        raise JaasError(f"Invalid login module control flag '{shown}' in JAAS config")
    options: dict[str, Secret] = {}
    while (token := tokens.next()).kind not in (END, ";"):
        key, separator = token.text, tokens.next()
        if separator.kind != "=":  # what should be a key may be the rest of a password
            raise JaasError(f"Value not specified for key '{HIDDEN}' in JAAS config (line {token.line})")
        value = tokens.next().text
        if key is None or value is None:
            raise JaasError(f"Value not specified for key '{'null' if key is None else key}' in JAAS config")
        options[key] = Secret(value)
    if token.kind != ";":
        raise JaasError("JAAS config entry not terminated by semi-colon")
    return LoginModule(first.text, flag, options)


def parse_file(text: str) -> dict[str, list[LoginModule]]:
    """The login modules in a JAAS file (`KafkaServer { ... };`) by the name of their context. Raises JaasError."""
    _check_size(text)
    reader = _FileReader(Tokens(text, _FILE_LETTERS))
    contexts: dict[str, list[LoginModule]] = {}
    while not reader.is_at(END):
        name, modules = reader.context()
        if name in contexts:
            raise JaasError(f"Configuration Error: Can not specify multiple entries for {name}")
        contexts[name] = modules
    return contexts


def read_file(path: str) -> dict[str, list[LoginModule]]:
    """Read a JAAS file: see parse_file. Raises JaasError."""
    try:
        with open(path, encoding="utf-8") as file:
            return parse_file(file.read(TEXT_CHARS_MAX + 1))
    except UnicodeDecodeError:
        raise JaasError("it is not UTF-8") from None
    except OSError as error:
        raise JaasError(error.strerror or str(error)) from None


class _FileReader:
    """One token of look-ahead over a JAAS file."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._token = tokens.next()

    def is_at(self, kind: str) -> bool:
        return self._token.kind == kind

    def context(self) -> tuple[str, list[LoginModule]]:
        name = self._text("application name")
        self._symbol("{")
        modules = []
        while not self.is_at("}"):
            modules.append(self._module())
        self._symbol("}")
        self._symbol(";")
        return name, modules

    def _module(self) -> LoginModule:
        name = self._text("module class name")
        is_word = self.is_at(WORD)
        flag = self._text("controlFlag").upper()
        if flag not in FLAGS:
            raise JaasError(f"Configuration Error: Invalid control flag, {flag if is_word else HIDDEN}")
        options: dict[str, Secret] = {}
        while not self.is_at(";"):
            key = self._text("option key")
            self._symbol("=")
            line = self._token.line
            options[key] = Secret(_expanded(self._text("option value"), line))
        self._symbol(";")
        return LoginModule(name, flag, options)

    def _text(self, expected: str) -> str:
        text = self._token.text
        if text is None or self._token.kind not in (WORD, QUOTED):  # the JDK does not take single quotes
            raise self._unexpected(expected)
        self._token = self._tokens.next()
        return text

    def _symbol(self, symbol: str) -> None:
        if not self.is_at(symbol):
            raise self._unexpected(symbol)
        self._token = self._tokens.next()

    def _unexpected(self, expected: str) -> JaasError:
        if self.is_at(END):
            return JaasError(f"Configuration Error: expected [{expected}], read [end of file]")
        found = f"[{self._token.kind}]" if len(self._token.kind) == 1 else HIDDEN
        return JaasError(f"Configuration Error: Line {self._token.line}: expected [{expected}], found {found}")


def _expanded(value: str, line: int) -> str:
    """Java puts system properties in the place of `${name}`, which do not exist here. `${/}` is the separator of folders."""
    value = value.replace("${/}", "/").replace("${{", "\0")  # Java leaves ${{ as it is
    if "${" in value:
        raise JaasError(f"Configuration Error: Line {line}: system properties in ${{...}} do not exist here")
    return value.replace("\0", "${{")


def _check_size(text: str) -> None:
    if len(text) > TEXT_CHARS_MAX:
        raise JaasError(f"a JAAS text has at most {TEXT_CHARS_MAX} characters")


def option_of(modules: Iterable[LoginModule], module: str, name: str) -> str | None:
    """The option `name` of the first login module of the class `module` that has it."""
    for each in modules:
        if each.name == module and (value := each.option(name)) is not None:
            return value
    return None
