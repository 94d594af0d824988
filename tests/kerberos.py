"""A Kerberos realm for tests: MIT's KDC as a process of the test, with its files in a folder and on a free port."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from kafka_cy.testing.broker import free_ports
from tests.waiting import wait_until

REALM = "TEST.EXAMPLE"
PROGRAMS = ("krb5kdc", "kdb5_util", "kadmin.local", "kinit")
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def missing_program() -> str | None:
    """A program of Debian's krb5-kdc, krb5-admin-server and krb5-user that is not here."""
    return next((each for each in PROGRAMS if shutil.which(each, path=_PATH) is None), None)


class Realm:
    """The principals `kafka/localhost` and `http/localhost`, whose keys are in `key_tab`, and `ann`, `ops/admin` in `users`."""

    def __init__(self, folder: Path, *defaults: str) -> None:
        """`defaults`: more lines of libdefaults."""
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self._kdc: subprocess.Popen[bytes] | None = None
        self.port = free_ports(1)[0]
        self.krb5_conf, self.key_tab, self.users = folder / "krb5.conf", folder / "kafka.keytab", folder / "users.keytab"
        self.krb5_conf.write_text(
            f"[libdefaults]\n default_realm = {REALM}\n dns_lookup_kdc = false\n dns_lookup_realm = false\n rdns = false\n"
            " dns_canonicalize_hostname = false\n udp_preference_limit = 1\n" + "".join(f" {line}\n" for line in defaults) +
            f"[realms]\n {REALM} = {{\n  kdc = 127.0.0.1:{self.port}\n }}\n[domain_realm]\n localhost = {REALM}\n"
        )
        (folder / "kdc.conf").write_text(
            f"[kdcdefaults]\n kdc_listen = 127.0.0.1:{self.port}\n kdc_tcp_listen = 127.0.0.1:{self.port}\n"
            f"[realms]\n {REALM} = {{\n"
            f"  database_name = {folder}/principal\n  key_stash_file = {folder}/stash\n  acl_file = {folder}/acl\n }}\n"
            f"[logging]\n kdc = FILE:{folder}/kdc.log\n"
        )
        self.environment = {
            "PATH": _PATH, "KRB5_CONFIG": str(self.krb5_conf), "KRB5_KDC_PROFILE": str(folder / "kdc.conf"),
            "KRB5RCACHENAME": f"file2:{folder}/replays", "KRB5CCNAME": f"FILE:{folder}/tickets",
        }  # fmt: skip
        self._run("kdb5_util", "create", "-s", "-P", "master", "-r", REALM)
        for names, path in ((("kafka/localhost", "http/localhost"), self.key_tab), (("ann", "ops/admin"), self.users)):
            for name in names:
                self._run("kadmin.local", "-q", f"addprinc -randkey {name}")
                self._run("kadmin.local", "-q", f"ktadd -k {path} -norandkey {name}")

    def _run(self, *command: str) -> None:
        program = shutil.which(command[0], path=_PATH) or command[0]
        done = subprocess.run(
            [program, *command[1:]], env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def log_in(self, user: str, *options: str) -> Mapping[str, str]:
        """Get a ticket. Returns the environment of a client that has it."""
        cache = self.folder / f"tickets-{user.replace('/', '-')}"
        self._run("kinit", "-c", str(cache), *options, "-k", "-t", str(self.users), user)
        return {**os.environ, **self.environment, "PATH": os.environ["PATH"], "KRB5CCNAME": f"FILE:{cache}"}

    def broker_config(self, listener: str, service: str = "kafka") -> dict[str, object]:
        """The keys of a listener with GSSAPI."""
        jaas = (
            "com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true storeKey=true "
            f'keyTab="{self.key_tab}" principal="{service}/localhost@{REALM}";'
        )
        return {
            f"listener.name.{listener}.sasl.enabled.mechanisms": "GSSAPI",
            f"listener.name.{listener}.gssapi.sasl.jaas.config": jaas,
            "sasl.kerberos.service.name": service,
        }

    def limit(self, name: str, seconds: int) -> None:
        """How long tickets of and for a principal last."""
        self._run("kadmin.local", "-q", f'modprinc -maxlife "{seconds} seconds" {name}')

    def add(self, name: str) -> None:
        """A principal whose key is in no key tab."""
        self._run("kadmin.local", "-q", f"addprinc -randkey {name}")

    def replace_key(self, name: str) -> None:
        """The one in a key tab is wrong from now on."""
        self._run("kadmin.local", "-q", f"cpw -randkey {name}")

    def write_key(self, name: str, path: Path) -> None:
        """Add the key of now to a key tab."""
        self._run("kadmin.local", "-q", f"ktadd -k {path} -norandkey {name}")

    def questions(self, *texts: str) -> int:
        """How many lines of the KDC's log have all these texts."""
        path = self.folder / "kdc.log"
        lines = path.read_text().splitlines() if path.exists() else []
        return sum(all(text in line for text in texts) for line in lines)

    def logins(self) -> int:
        """How many ticket-granting tickets the KDC has issued."""
        return self.questions("AS_REQ", "ISSUE: authtime")

    def start(self) -> None:
        """Start the KDC."""
        command = [shutil.which("krb5kdc", path=_PATH) or "krb5kdc", "-n", "-r", REALM]
        self._kdc = subprocess.Popen(command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self.answers, "the KDC answers")

    def stop(self) -> None:
        """End the KDC, if it runs."""
        if self._kdc is not None:
            self._kdc.kill()
            self._kdc.wait()
            self._kdc = None

    def answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        except OSError:
            return False
        return True


@contextmanager
def running_realm(folder: Path, *defaults: str) -> Iterator[Realm]:
    """A realm whose KDC runs."""
    realm = Realm(folder, *defaults)
    try:
        realm.start()
        yield realm
    finally:
        realm.stop()
