"""Requests about what a broker without authorizer, SASL and delegation tokens does not do, and about SCRAM credentials.

tests/control/record_security_golden.py records Apache Kafka's answers to all of them.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from differential_cases import Case, State, Values

SHA_256, SHA_512 = 1, 2
SALT = b"salt of the test"
KEY = b"a token's hmac"
DIRECTORY = uuid.UUID(int=0x5DEECE66D)


# fmt: off
def acl_filter(*, kind: int = 1, name: str | None = None, pattern: int = 1, operation: int = 1, permission: int = 1,
               principal: str | None = None, host: str | None = None) -> Values:
    """A filter of AclBindings; without arguments it matches all of them."""
    return {"resource_type_filter": kind, "resource_name_filter": name, "pattern_type_filter": pattern,
            "principal_filter": principal, "host_filter": host, "operation": operation, "permission_type": permission}


def acl(*, kind: int = 2, name: str = "topic", pattern: int = 3, operation: int = 3, permission: int = 3,
        principal: str = "User:alice", host: str = "*") -> Values:
    """An AclBinding."""
    return {"resource_type": kind, "resource_name": name, "resource_pattern_type": pattern, "principal": principal,
            "host": host, "operation": operation, "permission_type": permission}


def token(**more: Any) -> Values:
    return {"owner_principal_type": None, "owner_principal_name": None, "max_lifetime": -1,
            "renewers": [{"principal_type": "User", "principal_name": "bob"}], **more}


def upsertion(name: str, mechanism: int = SHA_256, iterations: int = 4096, *, salt: bytes = SALT,
              password: bytes = b"secret") -> Values:
    """A new SCRAM credential, with the password salted as clients do."""
    hash_name = "sha512" if mechanism == SHA_512 else "sha256"
    salted = hashlib.pbkdf2_hmac(hash_name, password, salt or b"x", max(iterations, 1)) if iterations < 1 << 20 else b"k" * 32
    return {"name": name, "mechanism": mechanism, "iterations": iterations, "salt": salt, "salted_password": salted}


def deletion(name: str, mechanism: int = SHA_256) -> Values:
    return {"name": name, "mechanism": mechanism}


def alter_scram(*upsertions: Values, delete: list[Values] | None = None) -> Values:
    return {"deletions": delete or [], "upsertions": list(upsertions)}


def users(*names: str) -> Values:
    return {"users": [{"name": name} for name in names]}


def voter(number: int, **more: Any) -> Callable[[State], Values]:
    """AddRaftVoter or RemoveRaftVoter; the listeners are those of the quorum in Kafka and here."""
    listeners = [{"name": name, "host": "127.0.0.1", "port": 1} for name in ("CONTROLLER", "PLAINTEXT")]
    values = {"timeout": 1000, "voter_id": number, "voter_directory_id": DIRECTORY, "listeners": listeners, **more}
    return lambda state: {"cluster_id": state.saved["cluster"], **values}


def voters_named_alike(answer: Values) -> Values:
    """The answer without the names that differ: of the cluster, its only voter, and the listener of the quorum."""
    text = json.dumps(answer, default=str)
    text = re.sub(r"cluster id \\\"[^\"]*\"", "cluster id <id>", text)
    text = re.sub(r"\[ReplicaKey\(id=1, directoryId=[^)]*\)\]", "[<me>]", text)
    return dict(json.loads(re.sub(r"default listener ListenerName\(\w*\)", "default listener", text)))


def keep_cluster_id(state: State, answer: Values) -> None:
    state.saved["cluster"] = answer["cluster_id"]


def every(name: str, api_key: int, versions: range, values: Any) -> list[Case]:
    """One case for each version."""
    return [Case(f"{name} v{version}", api_key, version, values) for version in versions]


ACLS = [
    *every("acls all", 29, range(1, 4), acl_filter()),
    *every("acls of a topic", 29, range(1, 4), acl_filter(kind=2, name="t", pattern=3, principal="User:a", host="*")),
    Case("acls match", 29, 3, acl_filter(kind=2, name="t", pattern=2)),
    Case("acls of users", 29, 3, acl_filter(kind=7)),
    Case("acls unknown resource", 29, 3, acl_filter(kind=0)),
    Case("acls odd resource", 29, 3, acl_filter(kind=77)),
    Case("acls unknown pattern", 29, 3, acl_filter(pattern=0)),
    Case("acls odd pattern", 29, 3, acl_filter(pattern=55)),
    Case("acls unknown operation", 29, 3, acl_filter(operation=0)),
    Case("acls odd operation", 29, 3, acl_filter(operation=99)),
    Case("acls unknown permission", 29, 3, acl_filter(permission=0)),
    *every("acls create", 30, range(1, 4), {"creations": [acl(), acl(kind=3, name="g", pattern=4)]}),
    Case("acls create none", 30, 3, {"creations": []}),
    Case("acls create bad principal", 30, 3, {"creations": [acl(principal="nobody")]}),
    Case("acls create empty name", 30, 3, {"creations": [acl(name="")]}),
    Case("acls create any", 30, 3, {"creations": [acl(), acl(kind=1)]}),
    Case("acls create match", 30, 3, {"creations": [acl(pattern=2)]}),
    Case("acls create unknown resource", 30, 3, {"creations": [acl(), acl(kind=0)]}),
    *[Case(f"acls create without {key}", 30, 3, {"creations": [acl(), acl() | {key: 0}]})
      for key in ("resource_pattern_type", "operation", "permission_type")],
    Case("acls create odd permission", 30, 3, {"creations": [acl(permission=9)]}),
    Case("acls create cluster", 30, 3, {"creations": [acl(kind=4, name="other")]}),
    *every("acls delete", 31, range(1, 4), {"filters": [acl_filter(), acl_filter(kind=2, name="t", pattern=3)]}),
    Case("acls delete none", 31, 3, {"filters": []}),
    Case("acls delete unknown operation", 31, 3, {"filters": [acl_filter(), acl_filter(operation=0)]}),
    *[Case(f"acls delete without {key}", 31, 3, {"filters": [acl_filter() | {key: 0}]})
      for key in ("resource_type_filter", "pattern_type_filter", "permission_type")],
    Case("acls delete odd resource", 31, 3, {"filters": [acl_filter(kind=50)]}),
]

TOKENS = [
    *every("token create", 38, range(1, 4), token()),
    Case("token create for another", 38, 3, token(owner_principal_type="User", owner_principal_name="eve")),
    Case("token create half an owner", 38, 3, token(owner_principal_type="User")),
    Case("token create owner without type", 38, 3, token(owner_principal_type="", owner_principal_name="eve")),
    Case("token create odd renewer", 38, 3, token(renewers=[{"principal_type": "Group", "principal_name": "g"}])),
    Case("token create no renewers", 38, 3, token(renewers=[], max_lifetime=1000)),
    *every("token renew", 39, range(1, 3), {"hmac": KEY, "renew_period": 1000}),
    *every("token expire", 40, range(1, 3), {"hmac": KEY, "expiry_time_period": -1}),
    *every("tokens", 41, range(1, 4), {"owners": None}),
    Case("tokens of nobody", 41, 3, {"owners": []}),
    Case("tokens of one", 41, 3, {"owners": [{"principal_type": "User", "principal_name": "eve"}]}),
]

SASL = [
    *every("sasl handshake", 17, range(2), {"mechanism": "PLAIN"}),
    Case("sasl handshake without mechanism", 17, 1, {"mechanism": ""}),
    *every("sasl authenticate", 36, range(3), {"auth_bytes": b"\0user\0password"}),
    Case("sasl authenticate nothing", 36, 2, {"auth_bytes": b""}),
]

SCRAM = [
    Case("scram none", 50, 0, {"users": None}),
    Case("scram of unknown", 50, 0, users("nobody", "alice")),
    Case("scram of nobody", 50, 0, users()),
    Case("scram alter nothing", 51, 0, alter_scram()),
    Case("scram add", 51, 0, alter_scram(upsertion("alice")), settle=True),
    Case("scram add two", 51, 0, alter_scram(upsertion("bob", SHA_512, 8192), upsertion("carol", iterations=16384)), settle=True),
    Case("scram all", 50, 0, {"users": None}),
    Case("scram of one", 50, 0, users("bob")),
    Case("scram of two, one unknown", 50, 0, users("bob", "nobody")),
    Case("scram twice", 50, 0, users("bob", "bob", "carol")),
    Case("scram unknown twice", 50, 0, users("nobody", "nobody")),
    Case("scram of empty name", 50, 0, users("")),
    Case("scram both mechanisms", 51, 0, alter_scram(upsertion("alice", SHA_512), upsertion("dora", SHA_512)), settle=True),
    Case("scram same user, two mechanisms", 51, 0, alter_scram(upsertion("erik"), upsertion("erik", SHA_512)), settle=True),
    Case("scram same credential twice", 51, 0, alter_scram(upsertion("fred"), upsertion("fred"))),
    Case("scram add and delete the same", 51, 0, alter_scram(upsertion("alice"), delete=[deletion("alice")])),
    Case("scram delete one mechanism, add another", 51, 0, alter_scram(
        upsertion("carol", SHA_512), delete=[deletion("carol")]), settle=True),
    Case("scram delete unknown", 51, 0, alter_scram(delete=[deletion("nobody")])),
    Case("scram delete unknown mechanism of known", 51, 0, alter_scram(delete=[deletion("bob")])),
    Case("scram delete twice", 51, 0, alter_scram(delete=[deletion("bob", SHA_512), deletion("bob", SHA_512)])),
    Case("scram delete one, unknown one", 51, 0, alter_scram(
        upsertion("gina"), delete=[deletion("nobody"), deletion("dora", SHA_512)]), settle=True),
    Case("scram bad mechanism", 51, 0, alter_scram(upsertion("hugo", 0), upsertion("ida", 3))),
    Case("scram bad mechanism deleted", 51, 0, alter_scram(delete=[deletion("alice", 0), deletion("alice", 9)])),
    Case("scram few iterations", 51, 0, alter_scram(upsertion("hugo", iterations=4095), upsertion("ida", iterations=0))),
    Case("scram negative iterations", 51, 0, alter_scram(upsertion("hugo", iterations=-1))),
    Case("scram iterations most", 51, 0, alter_scram(upsertion("hugo", iterations=16384), upsertion("ida", iterations=16385))),
    Case("scram empty user", 51, 0, alter_scram(upsertion(""), delete=[deletion("")])),
    Case("scram empty user, bad mechanism", 51, 0, alter_scram(upsertion("", 7), delete=[deletion("", 7)])),
    Case("scram empty salt", 51, 0, alter_scram(upsertion("jane", salt=b""))),
    Case("scram empty password", 51, 0, alter_scram({**upsertion("kurt"), "salted_password": b""})),
    Case("scram empty password and others", 51, 0, alter_scram(
        upsertion("good"), {**upsertion("kurt"), "salted_password": b""}, upsertion("bad", iterations=1)), settle=True),
    Case("scram empty password, then good", 51, 0, alter_scram({**upsertion("kurt"), "salted_password": b""}, upsertion("kurt"))),
    Case("scram odd names", 51, 0, alter_scram(
        upsertion("a b/c=d,e"), upsertion("näme"), upsertion("%41"), upsertion("<default>")), settle=True),
    Case("scram bad, then good", 51, 0, alter_scram(upsertion("lena", 9), upsertion("lena"))),
    Case("scram bad deletion, then good", 51, 0, alter_scram(upsertion("lena"), delete=[deletion("lena", 9)])),
    Case("scram unknown deletion, then good", 51, 0, alter_scram(upsertion("lena"), delete=[deletion("lena")])),
    Case("scram unknown deletion, then bad", 51, 0, alter_scram(delete=[deletion("lena"), deletion("lena", 9)])),
    Case("scram bad mechanism and iterations", 51, 0, alter_scram(upsertion("lena", 9, 1))),
    Case("scram two errors of one", 51, 0, alter_scram(upsertion("lena", 9), upsertion("lena", iterations=1))),
    Case("scram one good, one bad of one", 51, 0, alter_scram(upsertion("lena"), upsertion("lena", SHA_512, 1))),
    Case("scram good and bad", 51, 0, alter_scram(upsertion("mona"), upsertion("nina", iterations=1)), settle=True),
    Case("scram replace", 51, 0, alter_scram(upsertion("alice", iterations=5000, password=b"new")), settle=True),
    Case("scram all again", 50, 0, {"users": []}),
]

OTHER = [{"name": "OTHER", "host": "127.0.0.1", "port": 1}]
VOTERS = [
    Case("cluster of voters", 60, 0, save=keep_cluster_id, view=lambda answer: answer["error_code"]),
    Case("voter remove another", 81, 0, voter(5)),
    Case("voter remove, other cluster", 81, 0, voter(5, cluster_id="other")),
    Case("voter remove, empty cluster", 81, 0, voter(5, cluster_id="")),
    Case("voter remove, any cluster", 81, 0, voter(5, cluster_id=None)),
    Case("voter remove negative", 81, 0, voter(-1)),
    Case("voter remove without directory", 81, 0, voter(5, voter_directory_id=None)),
    Case("voter remove me, other directory", 81, 0, voter(1)),
    *every("voter add, other cluster", 80, range(2), voter(5, cluster_id="other")),
    *every("voter add me", 80, range(2), voter(1)),
    Case("voter add negative, other cluster", 80, 1, voter(-1, cluster_id="other")),
    Case("voter add me, any cluster", 80, 1, voter(1, cluster_id=None)),
    Case("voter add negative", 80, 1, voter(-1)),
    Case("voter add negative without listeners", 80, 1, voter(-1, listeners=[])),
    Case("voter add without directory", 80, 1, voter(5, voter_directory_id=None)),
    Case("voter add without listeners", 80, 1, voter(5, listeners=[])),
    Case("voter add me without listeners", 80, 1, voter(1, listeners=[])),
    Case("voter add, other listener", 80, 1, voter(5, listeners=OTHER)),
    Case("voter add, other listener without host", 80, 1, voter(5, listeners=[OTHER[0] | {"host": ""}])),
]
# fmt: on

VOTERS = [replace(case, view=case.view or voters_named_alike) for case in VOTERS]
SECURITY = [*ACLS, *TOKENS, *SASL, *SCRAM, *VOTERS]
