"""Distinguished names as the text that Java makes of them: X500Principal.getName(), which is RFC 2253 with Java's own rules.

That text is the name of a user who shows a certificate (DefaultKafkaPrincipalBuilder), so ACLs and quotas depend on each character.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_SEQUENCE: Final = 0x30
_SET: Final = 0x31
_OBJECT_IDENTIFIER: Final = 0x06
# UTF8String, PrintableString, T61String, IA5String, GeneralString, BMPString. Java reads the bytes of all of them as UTF-8.
_TEXT_TAGS: Final = frozenset((0x0C, 0x13, 0x14, 0x16, 0x1B, 0x1E))
# All others are written as numbers, and their values as hexadecimal DER.
_KEYWORDS: Final = {
    "2.5.4.3": "CN",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "STREET",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
}
_ESCAPED: Final = str.maketrans({"\0": "\\00", **{each: f"\\{each}" for each in ',=+<>#;"\\'}})
_ENDS: Final = " \r"  # escaped where a value begins or ends with them
# Java's decoder replaces a surrogate in UTF-8, also a cut off one, by one character, Python's each byte of it.
_SURROGATE: Final = re.compile(b"\xed[\xa0-\xbf][\x80-\xbf]?")
_REPLACED: Final = "\ufffd".encode()


def java_name(der: bytes) -> str:
    """The text of a DER-encoded Name, such as `CN=alice,OU=shop,C=DE`. Raises ValueError if it is not one."""
    content = _only(der, _SEQUENCE)
    return ",".join(reversed([_relative_name(each) for tag, each, _ in _elements(content) if _is(tag, _SET)]))


def _relative_name(content: bytes) -> str:
    return "+".join(_attribute(each) for tag, each, _ in _elements(content) if _is(tag, _SEQUENCE))


def _attribute(content: bytes) -> str:
    (kind_tag, kind, _), (tag, value, whole) = tuple(_elements(content))
    _is(kind_tag, _OBJECT_IDENTIFIER)
    number = _object_identifier(kind)
    keyword = _KEYWORDS.get(number)
    if keyword is None or tag not in _TEXT_TAGS:
        return f"{keyword or number}=#{whole.hex()}"
    return f"{keyword}={_escaped(_SURROGATE.sub(_REPLACED, value).decode('utf-8', 'replace'))}"


def _escaped(text: str) -> str:
    inner = text.strip(_ENDS)
    if not inner:
        return "".join(f"\\{each}" for each in text)
    begin = text.index(inner)
    before, after = text[:begin], text[begin + len(inner) :]
    return "".join((*(f"\\{each}" for each in before), inner.translate(_ESCAPED), *(f"\\{each}" for each in after)))


def _object_identifier(content: bytes) -> str:
    if not content or content[-1] & 0x80:
        raise ValueError("an object identifier is not whole")
    arcs = []
    arc = 0
    for byte in content:
        arc = arc << 7 | byte & 0x7F
        if not byte & 0x80:
            arcs.append(arc)
            arc = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))


def _only(content: bytes, tag: int) -> bytes:
    ((found, inner, _),) = tuple(_elements(content))
    _is(found, tag)
    return inner


def _is(tag: int, wanted: int) -> bool:
    if tag != wanted:
        raise ValueError(f"tag {tag:#x} in the place of {wanted:#x}")
    return True


def _elements(content: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Each DER element: its tag, its content, and all of it."""
    at = 0
    while at < len(content):
        begin = at
        if at + 2 > len(content):
            raise ValueError("an element is not whole")
        size = content[at + 1]
        at += 2
        if size & 0x80:
            digits = size & 0x7F
            size = int.from_bytes(content[at : at + digits], "big")
            at += digits
        end = at + size
        if end > len(content):
            raise ValueError("an element is not whole")
        yield content[begin], content[at:end], content[begin:end]
        at = end
