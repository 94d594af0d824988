"""`kafka-cy certs`: what Apache Kafka's documentation does with keytool and openssl, in one command each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kafka_cy.tools.certs.files import Output, read, require_new, write_all
from kafka_cy.tools.client import ToolError
from kafka_cy.tools.passwords import SOURCES, checked_source, password

if TYPE_CHECKING:
    from cryptography import x509

    from kafka_cy.tools.certs.authority import Authority, Key

# cryptography is an optional library: the modules that need it are imported when a command runs.

Command = TypeVar("Command", bound=Callable[..., Any])
CA_DAYS, CERTIFICATE_DAYS, DAYS_MAX = 3650, 365, 36500
STORE_PASSWORD, CA_PASSWORD = "Password of the stores", "Password of the authority's key"

_folder = click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=".",
    help="Where the files are. Default: here.",
)
_force = click.option("--force", is_flag=True, help="Replace files that exist.")
_key_type = click.option(
    "--key-type",
    type=click.Choice(["rsa", "ec"]),
    default="rsa",
    show_default=True,
    help="RSA with 3072 bits, or EC P-256.",
)
_dn = click.option("--dn", metavar="DN", help="Distinguished name, such as CN=alice,OU=shop,C=DE.")
_request = click.option(
    "--request", is_flag=True, help="Write a key and a request (.csr) that another authority signs."
)


def _days(default: int) -> Callable[[Command], Command]:
    kind = click.IntRange(1, DAYS_MAX)
    return click.option("--days", type=kind, default=default, show_default=True, help="Days for which it is valid.")


def _file_name(_: click.Context, __: click.Parameter, value: str) -> str:
    if (
        not value
        or value.startswith(".")
        or not all(each.isascii() and (each.isalnum() or each in "-_.") for each in value)
    ):
        raise click.BadParameter("must have letters, digits, '-', '_' and '.' only: it begins the names of files.")
    return value


def _store_options(function: Command) -> Command:
    function = click.option(
        "--password", "source", callback=checked_source, default="prompt", metavar="SOURCE",
        help=f"Where the password of the stores comes from: {SOURCES} (default).",
    )(function)  # fmt: skip
    return click.option(
        "--store", "stores", type=click.Choice(["p12", "jks"]), multiple=True,
        help="Write the stores in this format, too: PKCS12, or Java's JKS. May be repeated.",
    )(function)  # fmt: skip


def _authority_options(function: Command) -> Command:
    path = click.Path(dir_okay=False, path_type=Path)
    for option, text in (
        ("--ca-key", "The authority's key. Default: that of --ca, with .key."),
        ("--ca", "The authority's certificate, and those above it. Default: ca.pem in the folder."),
    ):
        function = click.option(option, type=path, metavar="FILE", help=text)(function)
    return click.option(
        "--ca-password", "ca_source", callback=checked_source, default="prompt", metavar="SOURCE",
        help=f"Where the password of the authority's key comes from, if it has one: {SOURCES} (default).",
    )(function)  # fmt: skip


@click.group("certs")
def commands() -> None:
    """Make certificates: an authority, and what it signs for brokers and clients.

    Needs pip install 'kafka-cy[certs]'. Passwords are never words of the command line, which every user of this machine can see.
    """


@commands.command("ca")
@click.option("--name", default="ca", show_default=True, callback=_file_name, help="Begins the names of the files.")
@click.option(
    "--key-password", "key_source", callback=checked_source, metavar="SOURCE",
    help=f"Encrypt the authority's key, with a password from {SOURCES}.",
)  # fmt: skip
@_dn
@_days(CA_DAYS)
@_key_type
@_store_options
@_folder
@_force
def ca(
    name: str, key_source: str | None, dn: str | None, days: int, key_type: str,
    stores: tuple[str, ...], source: str, folder: Path, force: bool,
) -> None:  # fmt: skip
    """Make an authority: its key and its certificate."""
    from kafka_cy.tools.certs import authority
    from kafka_cy.tools.certs import stores as formats

    key_path, path, wanted = folder / f"{name}.key", folder / f"{name}.pem", sorted(set(stores))
    require_new([key_path, path, *formats.paths(folder, name, "truststore", wanted)[1:]], force)
    subject = authority.parse_name(dn) if dn is not None else authority.common_name("Kafka authority")
    key_password = password(key_source, CA_PASSWORD, new=True) if key_source is not None else None
    store_password = password(source, STORE_PASSWORD, new=True) if wanted else ""
    key = authority.new_key(key_type)
    certificate = authority.self_signed(key, subject, days)
    outputs = [
        Output(key_path, authority.key_pem(key, key_password), True),
        Output(path, authority.chain_pem([certificate]), False),
        *formats.trust_stores(folder, name, [certificate], wanted, store_password)[
            1:
        ],  # the first one would be ca.pem again
    ]
    write_all(outputs, force)
    _report(outputs, certificate)
    here = "" if folder == Path() else f" --folder {folder}"
    where = here if name == "ca" else f"{here} --ca {path}"
    _print([
        f"For a broker: kafka-cy certs server HOST...{where}",
        f"For a client: kafka-cy certs client NAME{where}",
        f"Keep {key_path} where nobody else can read it; brokers and clients do not need it.",
    ])  # fmt: skip


@commands.command("server")
@click.argument("hosts", nargs=-1, required=True, metavar="HOST...")
@click.option("--name", default="broker", show_default=True, callback=_file_name, help="Begins the names of the files.")
@_request
@_authority_options
@_dn
@_days(CERTIFICATE_DAYS)
@_key_type
@_store_options
@_folder
@_force
def server(hosts: tuple[str, ...], name: str, dn: str | None, **options: Any) -> None:
    """Make a broker's key and certificate.

    HOST: the DNS names and addresses by which clients and other brokers connect to it. The first one is also the common name.
    """
    from kafka_cy.tools.certs import authority

    subject = authority.parse_name(dn) if dn is not None else authority.common_name(hosts[0])
    _issue("server", name, subject, authority.alternative_names(hosts), **options)


@commands.command("client")
@click.argument("name", callback=_file_name)
@_request
@_authority_options
@_dn
@_days(CERTIFICATE_DAYS)
@_key_type
@_store_options
@_folder
@_force
def client(name: str, dn: str | None, **options: Any) -> None:
    """Make a client's key and certificate. NAME begins the names of the files, and is the common name without --dn."""
    from kafka_cy.tools.certs import authority

    subject = authority.parse_name(dn) if dn is not None else authority.common_name(name)
    _issue("client", name, subject, [], **options)


@commands.command("sign")
@click.argument("request_path", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.csr")
@click.option("--for", "use", type=click.Choice(["server", "client"]), required=True, help="Whose certificate it is.")
@_authority_options
@_days(CERTIFICATE_DAYS)
@_force
def sign(
    request_path: Path, use: str, ca: Path | None, ca_key: Path | None, ca_source: str, days: int, force: bool
) -> None:  # fmt: skip
    """Sign a request with the authority, and write the certificate beside it (.crt).

    The certificate gets the name, the key and the alternative names of the request, and nothing else of it.
    """
    from kafka_cy.tools.certs import authority

    path = request_path.with_suffix(".crt")
    require_new([path], force)
    request = authority.read_request(read(request_path, "The request"), f"The request {request_path}")
    names = [authority.name_text(each) for each in request.names]
    if other := [each for each in names if not each.startswith(("DNS:", "IP:"))]:
        raise ToolError(
            f"The request {request_path} asks for {', '.join(other)}; only DNS names and addresses are signed."
        )
    if use == "server" and not names:
        raise ToolError(f"The request {request_path} has no alternative names; clients accept no broker without them.")
    signer = _read_authority(request_path.parent, ca, ca_key, ca_source)
    certificate = authority.signed(signer, request.subject, request.public_key, request.names, use, days)
    outputs = [Output(path, authority.chain_pem([certificate, *signer.chain]), False)]
    write_all(outputs, force)
    _report(outputs, certificate)


@commands.command("stores")
@click.argument("name", callback=_file_name)
@click.option(
    "--ca", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="The authority. Default: ca.pem."
)
@_store_options
@_folder
@_force
def stores_of(
    name: str, ca: Path | None, stores: tuple[str, ...], source: str, folder: Path, force: bool
) -> None:  # fmt: skip
    """Make the stores of NAME.key and NAME.crt, which another authority has signed (--request)."""
    from kafka_cy.tools.certs import authority

    key_path, path, trusted_path = folder / f"{name}.key", folder / f"{name}.crt", ca or folder / "ca.pem"
    content = read(key_path, "The key")
    secret = password("prompt", f"Password of {key_path}", new=False) if authority.is_encrypted(content) else None
    key = authority.read_key(content, secret, str(key_path))
    chain = authority.read_chain(read(path, "The certificate"), str(path))
    trusted = authority.read_chain(read(trusted_path, "The authority"), str(trusted_path))
    authority.require_pair(key, chain[0], str(key_path), str(path))
    use = "server" if authority.is_for_servers(chain[0]) else "client"
    _write_stores(use, name, key, chain, trusted, stores, source, folder, force)


def _issue(
    use: str, name: str, subject: x509.Name, names: list[x509.GeneralName], *, request: bool, ca: Path | None,
    ca_key: Path | None, ca_source: str, days: int, key_type: str, stores: tuple[str, ...], source: str, folder: Path,
    force: bool,
) -> None:  # fmt: skip
    """Make a key, and a certificate or a request for it. Raises ToolError."""
    from kafka_cy.tools.certs import authority

    if request:
        key_path, path = folder / f"{name}.key", folder / f"{name}.csr"
        require_new([key_path, path], force)
        key = authority.new_key(key_type)
        content = authority.request(key, subject, names)
        write_all([Output(key_path, authority.key_pem(key), True), Output(path, content, False)], force)
        _print([
            f"{key_path}\n{path}",
            f"The authority signs it with: kafka-cy certs sign {path.name} --for {use}",
            f"Then: kafka-cy certs stores {name}",
        ])  # fmt: skip
        return
    _require_new_stores(folder, name, stores, force)
    signer = _read_authority(folder, ca, ca_key, ca_source)
    made = password(source, STORE_PASSWORD, new=True) if stores else ""
    key = authority.new_key(key_type)
    certificate = authority.signed(signer, subject, key.public_key(), names, use, days)
    chain = [certificate, *signer.chain]
    _write_stores(use, name, key, chain, signer.chain, stores, source, folder, force, made)


def _require_new_stores(folder: Path, name: str, stores: Sequence[str], force: bool) -> None:
    from kafka_cy.tools.certs import stores as formats

    require_new(
        [path for what in ("keystore", "truststore") for path in formats.paths(folder, name, what, stores)], force
    )


def _read_authority(folder: Path, ca: Path | None, ca_key: Path | None, source: str) -> Authority:
    """Raises ToolError."""
    from kafka_cy.tools.certs import authority

    path = ca or folder / "ca.pem"
    key_path = ca_key or path.with_suffix(".key")
    chain = authority.read_chain(read(path, "The authority's certificate"), str(path))
    content = read(key_path, "The authority's key")
    secret = password(source, CA_PASSWORD, new=False) if authority.is_encrypted(content) else None
    signer = authority.Authority(authority.read_key(content, secret, str(key_path)), chain)
    authority.require_authority(signer, str(key_path), str(path))
    return signer


def _write_stores(
    use: str, name: str, key: Key, chain: list[x509.Certificate], trusted: list[x509.Certificate], stores: Sequence[str],
    source: str, folder: Path, force: bool, made: str | None = None,
) -> None:  # fmt: skip
    """`made`: the password, if it has been asked for."""
    from kafka_cy.tools.certs import authority, settings
    from kafka_cy.tools.certs import stores as formats

    wanted = sorted(set(stores))
    _require_new_stores(folder, name, wanted, force)
    secret = made if made is not None else password(source, STORE_PASSWORD, new=True) if wanted else ""
    outputs = formats.key_stores(folder, name, key, chain, wanted, secret)
    outputs += formats.trust_stores(folder, name, trusted, wanted, secret)
    write_all(outputs, force)
    _report(outputs, chain[0])
    there = folder.absolute()
    lines = [] if use == "client" else [*settings.server_lines(there, name, wanted), ""]
    lines += settings.client_lines(there, name, wanted, with_key=use == "client")
    if use == "client":
        lines += ["", f"# The broker knows this client as {authority.principal(chain[0].subject)}"]
    _print(lines)


def _report(outputs: Sequence[Output], certificate: x509.Certificate) -> None:
    """Print the files and the certificate."""
    from cryptography import x509 as library

    from kafka_cy.tools.certs.authority import name_text

    lines = [f"{output.path}{' (holds a private key)' if output.secret else ''}" for output in outputs]
    lines.append(f"Name: {certificate.subject.rfc4514_string()}")
    try:
        names = certificate.extensions.get_extension_for_class(library.SubjectAlternativeName).value
        lines.append(f"Alternative names: {', '.join(name_text(each) for each in names)}")
    except library.ExtensionNotFound:
        pass
    _print([*lines, f"Valid until: {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"])


def _print(lines: Sequence[str]) -> None:
    for line in lines:
        click.echo(line)
    click.echo()
