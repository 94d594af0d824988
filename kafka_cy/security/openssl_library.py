"""The OpenSSL that TLS listeners use: its version, and the certificate authorities of the machine.

A wheel has its own OpenSSL inside, built for Debian: it looks for authorities where Debian has them. On other distributions
the machine's list is used instead, so that a wheel trusts whom a build from source trusts.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from kafka_cy.network.tls import TlsContext

# Fedora and Red Hat, openSUSE, Alpine.
AUTHORITY_FILES: Final = ("/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem")
# OpenSSL's own variables, which win over its folders.
VARIABLES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def _text(function_name: str, *arguments: int) -> str:
    """Call a function of the loaded library that returns a text. Raises OSError if it cannot be found."""
    import ctypes

    import kafka_cy.network.tls  # noqa: F401 (loads the library)

    with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
        paths = {line.split(maxsplit=5)[5].strip() for line in file if "/libcrypto" in line}
    if not paths:
        raise OSError("libcrypto is not loaded as a library of its own")
    # Another package may have loaded another one. That of a wheel is in a folder of its own.
    path = min(paths, key=lambda each: ("kafka_cy.libs" not in each, each))
    function = getattr(ctypes.CDLL(path), function_name)
    function.restype = ctypes.c_char_p
    text: bytes = function(*arguments)
    return text.decode(errors="replace")


def openssl_version() -> str | None:
    """Return a text such as `OpenSSL 3.0.17 1 Jul 2025`; None if it is not known."""
    try:
        return _text("OpenSSL_version", 0)
    except (ImportError, OSError, AttributeError):
        return None


def trust_authorities(
    context: TlsContext, files: Iterable[str] = AUTHORITY_FILES, variables: Mapping[str, str] = os.environ
) -> None:
    """Accept clients whose certificates were signed by this machine's authorities. As in OpenSSL, an unusable list is no error."""
    context.trust_system()
    if any(name in variables for name in VARIABLES):
        return
    try:
        known = [_text("X509_get_default_cert_file"), _text("X509_get_default_cert_dir")]
    except (OSError, AttributeError):
        return
    if any(os.path.exists(each) for each in known):  # noqa: PTH110
        return
    for path in files:
        if os.path.exists(path):  # noqa: PTH110
            try:
                with open(path, "rb") as file:
                    context.trust_pem(file.read())
            except (OSError, ValueError):
                continue
            return
