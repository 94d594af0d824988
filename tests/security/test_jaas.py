"""JAAS texts. The tables were compared with JaasConfig of Apache Kafka 4.3.1 and with the JDK's reader of JAAS files."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_cy.security.jaas import TEXT_CHARS_MAX, JaasError, LoginModule, option_of, parse_entry, parse_file
from kafka_cy.security.secret import Secret


def shown(module: LoginModule) -> tuple[str, str, dict[str, str]]:
    return module.name, module.flag, {name: secret.reveal() for name, secret in module.options.items()}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("k=v", {"k": "v"}),
        ("k='a b'", {"k": "a b"}),
        (r'k="a\"b\\c\n\101\x"', {"k": 'a"b\\c\nAx'}),
        (r'k="\8\477\0012"', {"k": "8'7\x012"}),
        ("k=v1.2-3_$", {"k": "v1.2-3_$"}),
        ("k=ünï€", {"k": "ünï€"}),
        ("/* c */ k=v // end\n", {"k": "v"}),
        ("k=a/b\n", {"k": "a"}),  # a slash begins a comment
        ('"user_a@b"="x" user_c = "y"', {"user_a@b": "x", "user_c": "y"}),
        ('k="1" k="2"', {"k": "2"}),
        ('k=""', {"k": ""}),
        ('k="//" j="/*;*/"', {"k": "//", "j": "/*;*/"}),
        ("k='\"'", {"k": '"'}),
        ("", {}),
    ],
)
def test_options(options: str, expected: dict[str, str]) -> None:
    assert shown(parse_entry(f"a.B required {options};")) == ("a.B", "REQUIRED", expected)


@pytest.mark.parametrize("flag", ["required", "Requisite", "SUFFICIENT", '"optional"'])
def test_flags(flag: str) -> None:
    assert parse_entry(f'"a.B" {flag};').flag == flag.strip('"').upper()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Login module not specified in JAAS config"),
        (" // only", "Login module not specified in JAAS config"),
        ("a.B", "Login module control flag not specified in JAAS config"),
        ("a.B;", "Login module control flag is not available in the JAAS config"),
        ("a.B wrong k=v;", "Invalid login module control flag 'wrong' in JAAS config"),
        ("a.B required k=v", "JAAS config entry not terminated by semi-colon"),
        ("a.B required k=;", "Value not specified for key 'k' in JAAS config"),
        ("a.B required k=1;", "Value not specified for key 'k' in JAAS config"),
        ("a.B required k=-v;", "Value not specified for key 'k' in JAAS config"),
        ("a.B required k=-1v;", "Value not specified for key 'k' in JAAS config"),
        ("a.B required k=.v;", "Value not specified for key 'k' in JAAS config"),
        ("a.B required k==v;", "Value not specified for key 'k' in JAAS config"),
        ('a.B required k="open;', "JAAS config entry not terminated by semi-colon"),
        ("a.B required k=v; /* open", None),
        ("a.B required k=v; c.D optional;", "JAAS config property contains 2 login modules, should be 1 module"),
    ],
)
def test_malformed_entries(text: str, message: str | None) -> None:
    if message is None:
        assert parse_entry(text).name == "a.B"
        return
    with pytest.raises(JaasError) as raised:
        parse_entry(text)
    assert str(raised.value) == message


@pytest.mark.parametrize("tail", ["canary@x", "canary,x", "x canary", 'x\n"canary"', '"x\ncanary"', "x=canary", "'x' canary"])
@pytest.mark.parametrize("frame", ["a.B required password={};", "K {{ a.B required password={}; }};"])
def test_an_error_does_not_show_a_password(tail: str, frame: str) -> None:
    with pytest.raises(JaasError) as raised:
        (parse_file if frame.startswith("K") else parse_entry)(frame.format(tail))
    assert "canary" not in str(raised.value)


def test_a_file_has_modules_by_context() -> None:
    text = """
    // a comment
    KafkaServer {
        a.B required
            username="admin"
            "user_a b"="c d";
        c.D optional;
    };
    "internal.KafkaServer" { e.F SUFFICIENT path="${/}etc"; };
    Client { };
    """
    contexts = parse_file(text)
    assert {name: [shown(module) for module in modules] for name, modules in contexts.items()} == {
        "KafkaServer": [("a.B", "REQUIRED", {"username": "admin", "user_a b": "c d"}), ("c.D", "OPTIONAL", {})],
        "internal.KafkaServer": [("e.F", "SUFFICIENT", {"path": "/etc"})],
        "Client": [],
    }
    assert option_of(contexts["KafkaServer"], "a.B", "username") == "admin"
    assert option_of(contexts["KafkaServer"], "c.D", "username") is None
    assert parse_file("") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("K { a.B required k=v; }", "expected [;], read [end of file]"),
        ("K { a.B required k=v };", "Line 1: expected [option key], found [}]"),
        ("K { a.B wrong; };", "Invalid control flag, WRONG"),
        ("K { a.B required; }; K { a.B required; };", "Can not specify multiple entries for K"),
        ("K {\n\n a.B required k='v'; };", "Line 3: expected [option value], found [hidden]"),
        ('K { a.B required k="${x.y}"; };', "Line 1: system properties in ${...} do not exist here"),
        ("K a.B;", "Line 1: expected [{], found [hidden]"),
        ("{", "Line 1: expected [application name], found [{]"),
    ],
)
def test_malformed_files(text: str, message: str) -> None:
    with pytest.raises(JaasError) as raised:
        parse_file(text)
    assert str(raised.value) == f"Configuration Error: {message}"


@given(st.text(alphabet=st.sampled_from("aB1.-_$ \"'\\/*=;{}@\n\r\x00ü€"), max_size=40))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    for parse in (parse_entry, parse_file):
        for whole in (text, f"a.B required {text};", f"K {{ a.B required {text}; }};"):
            try:
                parse(whole)
            except JaasError:
                pass


def test_a_large_text_is_refused() -> None:
    for parse in (parse_entry, parse_file):
        with pytest.raises(JaasError, match="at most"):
            parse(" " * (TEXT_CHARS_MAX + 1))
    many = " ".join(f'user_{number}="p"' for number in range(20_000))
    assert len(parse_entry(f"a.B required {many};").options) == 20_000


def test_a_secret_is_not_shown() -> None:
    secret = Secret("canary")
    module = LoginModule("a.B", "REQUIRED", {"password": secret})
    assert "canary" not in f"{secret!r} {secret} {secret!s} {module!r} {[secret]}"
    assert secret.reveal() == module.option("password") == "canary"
    with pytest.raises(TypeError):
        pickle.dumps(secret)
