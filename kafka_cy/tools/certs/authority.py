"""Keys, certificates and requests, made with the package cryptography."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kafka_cy.security.distinguished_name import java_name
from kafka_cy.tools.client import ToolError

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
RSA_BITS, RSA_BITS_MIN = 3072, 2048
COMMON_NAME_MAX = 64
BACKDATED = datetime.timedelta(hours=1)  # the clocks of other machines may be behind
USES = {
    # Brokers dial each other with the same certificate.
    "server": [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH],
    "client": [ExtendedKeyUsageOID.CLIENT_AUTH],
}


class Authority(NamedTuple):
    """Who signs: the key, and the chain from its own certificate on."""

    key: Key
    chain: list[x509.Certificate]


def new_key(kind: str) -> Key:
    """A new private key: `rsa` (3072 bits) or `ec` (P-256)."""
    return ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else rsa.generate_private_key(65537, RSA_BITS)


def key_pem(key: Key, password: str | None = None) -> bytes:
    """The key as PKCS#8."""
    encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def read_key(content: bytes, password: str | None, what: str) -> Key:
    """A private key in PEM. Raises ToolError."""
    try:
        key = load_pem_private_key(
            content, password.encode("utf-8", "surrogateescape") if password is not None else None
        )
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ToolError(f"{what} is not a private key in PEM, or its password is wrong.") from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise ToolError(f"{what} is neither an RSA nor an EC key.")
    return key


def is_encrypted(content: bytes) -> bool:
    """Whether a private key in PEM needs a password."""
    return b"ENCRYPTED" in content


def read_chain(content: bytes, what: str) -> list[x509.Certificate]:
    """The certificates of a PEM file. Raises ToolError."""
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError:
        raise ToolError(f"{what} holds no certificates in PEM.") from None


def chain_pem(chain: Sequence[x509.Certificate]) -> bytes:
    """Certificates as PEM."""
    return b"".join(each.public_bytes(Encoding.PEM) for each in chain)


def require_pair(key: Key, certificate: x509.Certificate, key_name: str, certificate_name: str) -> None:
    """Raises ToolError if the key is not the certificate's."""
    public = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*public) != certificate.public_key().public_bytes(*public):
        raise ToolError(f"The key {key_name} does not belong to the certificate {certificate_name}.")


def parse_name(text: str) -> x509.Name:
    """A distinguished name, such as CN=alice,OU=shop,C=DE, in Java's order. Raises ToolError."""
    try:
        name = x509.Name.from_rfc4514_string(text)
    except ValueError as error:
        raise ToolError(f"{text!r} is not a distinguished name such as CN=alice,OU=shop,C=DE ({error}).") from None
    if not list(name):
        raise ToolError("A distinguished name needs an attribute, such as CN=alice.")
    return name


def common_name(text: str) -> x509.Name:
    """CN=text. Raises ToolError."""
    if not 0 < len(text) <= COMMON_NAME_MAX:
        raise ToolError(
            f"{text!r} is too long for a common name ({COMMON_NAME_MAX} characters); --dn has another name."
        )
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def principal(name: x509.Name) -> str:
    """The principal that a broker makes of the name, without ssl.principal.mapping.rules."""
    return f"User:{java_name(name.public_bytes())}"


def alternative_names(hosts: Sequence[str]) -> list[x509.GeneralName]:
    """DNS names and addresses. Raises ToolError."""
    found: list[x509.GeneralName] = []
    for host in hosts:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(host.strip("[]"))))
        except ValueError:
            labels = host.removeprefix("*.").split(".")
            if not all(label.replace("-", "").replace("_", "").isalnum() and label.isascii() for label in labels):
                reason = "" if host.isascii() else " Names with other letters are written as xn--..."
                raise ToolError(f"{host!r} is neither a DNS name nor an address.{reason}") from None
            found.append(x509.DNSName(host))
    return found


def name_text(name: x509.GeneralName) -> str:
    """`DNS:localhost` or `IP:127.0.0.1`."""
    kind = {x509.DNSName: "DNS", x509.IPAddress: "IP"}.get(type(name), type(name).__name__)
    return f"{kind}:{name.value}"


def self_signed(key: Key, subject: x509.Name, days: int) -> x509.Certificate:
    """An authority's own certificate."""
    builder = _builder(subject, subject, key.public_key(), days)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(authority=True), critical=True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return builder.add_extension(identifier, critical=False).sign(key, SHA256())


def signed(
    authority: Authority,
    subject: x509.Name,
    public_key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
    names: Sequence[x509.GeneralName],
    use: str,
    days: int,
) -> x509.Certificate:
    """A certificate of `use` that does not outlive the authority's own."""
    issuer = authority.chain[0]
    builder = _builder(subject, issuer.subject, public_key, days, issuer.not_valid_after_utc)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    is_rsa = isinstance(public_key, rsa.RSAPublicKey)
    builder = builder.add_extension(_key_usage(authority=False, encipherment=is_rsa), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage(USES[use]), critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    return builder.add_extension(identifier, critical=False).sign(authority.key, SHA256())


def is_for_servers(certificate: x509.Certificate) -> bool:
    """Whether the certificate says that it is a server's."""
    try:
        uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True  # every use is allowed
    return ExtendedKeyUsageOID.SERVER_AUTH in uses


def require_authority(authority: Authority, key_name: str, certificate_name: str) -> None:
    """Raises ToolError unless key and certificate belong to each other and may sign."""
    certificate = authority.chain[0]
    require_pair(authority.key, certificate, key_name, certificate_name)
    try:
        may_sign = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        may_sign = False
    if not may_sign:
        raise ToolError(f"{certificate_name} is not the certificate of an authority.")
    if certificate.not_valid_after_utc <= datetime.datetime.now(datetime.UTC):
        raise ToolError(f"{certificate_name} expired on {certificate.not_valid_after_utc:%Y-%m-%d}.")


def request(key: Key, subject: x509.Name, names: Sequence[x509.GeneralName]) -> bytes:
    """A signing request (CSR) in PEM."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM)


class Request(NamedTuple):
    """What a signing request asks for; all else in it is ignored."""

    subject: x509.Name
    public_key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey
    names: list[x509.GeneralName]


def read_request(content: bytes, what: str) -> Request:
    """Raises ToolError."""
    try:
        found = x509.load_pem_x509_csr(content)
        key = found.public_key()
        if not found.is_signature_valid:
            raise ToolError(f"{what} is not signed with its own key.")
        extensions = found.extensions
    except (ValueError, UnsupportedAlgorithm, InvalidSignature, x509.DuplicateExtension):
        raise ToolError(f"{what} is not a signing request in PEM.") from None
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey) or key.key_size < 256:
        raise ToolError(f"{what} has neither an RSA key nor an EC key of 256 bits or more.")
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < RSA_BITS_MIN:
        raise ToolError(f"{what} has an RSA key of {key.key_size} bits; {RSA_BITS_MIN} are the least.")
    try:
        names = list(extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        names = []
    return Request(found.subject, key, names)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
    days: int,
    at_most: datetime.datetime | None = None,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    until = now + datetime.timedelta(days=days)
    until = min(until, at_most) if at_most is not None else until
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public_key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - BACKDATED).not_valid_after(until)


def _key_usage(*, authority: bool, encipherment: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=encipherment,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
