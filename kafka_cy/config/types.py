"""Types and validators of configuration values.

A key is a plain tuple (`Entry`) and so is a validator. The tables are therefore constants of the compiled modules:
no code runs for a key until its value is asked for.
"""

from typing import Any, Final, NamedTuple

#: (name, type, default as text or None, scope, validator or None, importance, effect, documentation): see ConfigKey
Entry = tuple[str, str, str | None, str, tuple[Any, ...] | None, str, str, str]

#: Type codes of DescribeConfigs (KIP-569).
TYPE_CODES: Final[dict[str, int]] = {
    "UNKNOWN": 0,
    "BOOLEAN": 1,
    "STRING": 2,
    "INT": 3,
    "SHORT": 4,
    "LONG": 5,
    "DOUBLE": 6,
    "LIST": 7,
    "CLASS": 8,
    "PASSWORD": 9,
}

#: Begins the effect of a key that only members of a cluster apply.
CLUSTER_ONLY: Final = "in a cluster: "

_INTEGER_BITS: Final = {"SHORT": 16, "INT": 32, "LONG": 64}
_INTEGER_WORDS: Final = {"SHORT": "a 16-bit integer", "INT": "a 32-bit integer", "LONG": "a 64-bit integer"}


class ConfigKey(NamedTuple):
    """One key.

    `default` is text as in a file, None when the key is unset. `effect` is the package of kafka_cy that applies the value,
    behind "in a cluster: " where it only does so in a member of a cluster, or "ignored: <reason>", or "refused: <reason>".
    """

    name: str
    type: str
    default: str | None
    scope: str
    validator: tuple[Any, ...] | None
    importance: str
    effect: str
    text: str

    @property
    def ignored_because(self) -> str:
        """Why the key has no effect; empty when it has one."""
        return self.effect.removeprefix("ignored: ") if self.effect.startswith("ignored: ") else ""

    @property
    def refused_because(self) -> str:
        """Why the broker does not start with a value other than the default; empty when it does."""
        return self.effect.removeprefix("refused: ") if self.effect.startswith("refused: ") else ""

    @property
    def is_cluster_only(self) -> bool:
        """Whether the key has no effect unless this broker is a member of a cluster (zookeeper.connect)."""
        return self.effect.startswith(CLUSTER_ONLY)

    @property
    def documentation(self) -> str:
        """What DescribeConfigs says about the key: the text, and whether it has no effect."""
        if self.ignored_because:
            return f"{self.text} Ignored by kafka-cy: {self.ignored_because}."
        return f"{self.text} Refused by kafka-cy: {self.refused_because}." if self.refused_because else self.text

    @property
    def sensitive(self) -> bool:
        """Whether the value may never be shown. Nobody knows whether the value of a custom key is secret."""
        return self.type in ("PASSWORD", "UNKNOWN")

    @property
    def allowed(self) -> str:
        """Which values are allowed, in words."""
        words = describe_type(self.type)
        rule = describe_validator(self.validator)
        if self.validator is not None and self.type in ("STRING", "LIST", "CLASS"):
            return rule
        return f"{words}, {rule}" if rule else words


def custom_key(name: str) -> ConfigKey:
    """Return a key that kafka-cy does not know, such as a plugin's: its value is stored, never shown and never used."""
    return ConfigKey(name, "UNKNOWN", None, "read-only", None, "LOW", "ignored: kafka-cy does not know the key", "")


class ConfigError(Exception):
    """A value that a key does not allow.

    `key` and `value` are as given. `reason` has Kafka's wording, because clients see it. `allowed` says which values the
    key allows.
    """

    def __init__(self, key: str, value: Any, allowed: str, reason: str = "") -> None:
        self.key = key
        self.value = value
        self.allowed = allowed
        self.reason = reason or allowed
        super().__init__(key, value, allowed, reason)

    @property
    def kafka_message(self) -> str:
        """The sentence that a client sees."""
        return f"Invalid value {self.value} for configuration {self.key}: {self.reason}"

    def __str__(self) -> str:
        if self.allowed and self.allowed != self.reason:
            return f"{self.kafka_message} (allowed: {self.allowed})"
        return self.kafka_message


class RelationError(ConfigError):
    """A value that contradicts another one. The reason is the whole message."""

    @property
    def kafka_message(self) -> str:
        """The sentence that a client sees."""
        return self.reason


class UnknownKeyError(ConfigError):
    """A key that does not exist for this kind of entity."""

    def __init__(self, entity: str, key: str, value: Any) -> None:
        super().__init__(key, value, f"one of the {entity} keys")
        self.entity = entity

    @property
    def kafka_message(self) -> str:
        """The sentence that a client sees."""
        return f"Unknown {self.entity} config name: {self.key}"


def split_list(text: str) -> list[str]:
    """Split a LIST value at its commas, without blanks around them. The empty text is the empty list."""
    text = text.strip()
    return [part.strip() for part in text.split(",")] if text else []


def parse_value(key: ConfigKey, text: str | None) -> Any:
    """Parse and validate `text` for `key`; None stays None. Raises ConfigError."""
    if text is None:
        return None
    kind = key.type
    value: Any = text.strip()
    if kind in _INTEGER_BITS:
        value = _parse_integer(key, text)
    elif kind == "BOOLEAN":
        lowered = value.lower()
        if lowered not in ("true", "false"):
            raise ConfigError(key.name, text, "true or false", "Expected value to be either true or false")
        value = lowered == "true"
    elif kind == "DOUBLE":
        value = _parse_double(key, text)
    elif kind == "LIST":
        value = _parse_list(key, text)
    if key.validator is not None:
        reason = check(key.validator, value)
        if reason is not None:
            if key.validator[0] == "client_match":
                raise RelationError(key.name, text, key.allowed, reason)
            if key.validator[0] == "throttled_replicas":
                reason = f"{key.name} {reason}"
            shown = _printed(value)
            if key.validator[0].startswith("list_in"):
                shown = next((part for part in value if part not in key.validator[1:]), text.strip())
            raise ConfigError(key.name, shown, key.allowed, reason)
    return [entry for entry in value if entry] if kind == "LIST" else value


def parse_integer(text: str, bits: int) -> int | None:
    """Parse an integer of at most `bits` bits as Java does; None when `text` is not one."""
    digits = text[1:] if text[:1] in ("-", "+") else text
    # int() would also accept "1_000", blanks inside and digits of other scripts.
    if digits.isascii() and digits.isdigit() and len(digits) < 40:
        value = int(text)
        if -(1 << (bits - 1)) <= value < (1 << (bits - 1)):
            return value
    return None


def to_text(value: Any) -> str | None:
    """Write a typed value as Kafka prints it."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(value)
    if isinstance(value, float):
        return _double_text(value)
    return str(value)


def _double_text(value: float) -> str:
    """Write a double as Java does: plain from 0.001 to ten million, else with an exponent such as 1.5E8."""
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        return repr(float(value))
    digits, _, exponent = f"{value!r}".partition("e")
    if not exponent:  # repr() uses exponents from a larger value on than Java
        digits, _, exponent = f"{value:.16e}".partition("e")
        digits = digits.rstrip("0")
    if "." not in digits:
        digits += ".0"
    return f"{digits}{'0' if digits.endswith('.') else ''}E{int(exponent)}"


def describe_type(kind: str) -> str:
    """Describe a type in words."""
    words = {
        "BOOLEAN": "true or false",
        "UNKNOWN": "any text",
        "DOUBLE": "a number",
        "STRING": "text",
        "LIST": "a list, separated by commas",
        "CLASS": "a class name",
        "PASSWORD": "a secret text",
    }
    return _INTEGER_WORDS.get(kind) or words[kind]


def describe_validator(validator: tuple[Any, ...] | None) -> str:
    """Describe in words what a validator allows; empty when there is none."""
    if validator is None:
        return ""
    kind, *arguments = validator
    if kind == "at_least":
        return f"at least {arguments[0]}"
    if kind == "between":
        return f"from {arguments[0]} to {arguments[1]}"
    if kind in ("in", "in_any_case"):
        return "one of: " + ", ".join(arguments)
    if kind == "list_in":
        return "a list of: " + ", ".join(arguments)
    if kind == "list_in_or_empty":
        return "empty, or a list of: " + ", ".join(arguments)
    return _SPECIAL_WORDS[kind]


_SPECIAL_WORDS: Final = {
    "text_not_empty": "text that is not empty",
    "list_not_empty": "a list with at least one entry",
    "gzip_level": "-1, or from 1 to 9",
    "offset_reset": "earliest, latest, or by_duration:<ISO-8601 duration such as PT1H>",
    "throttled_replicas": "*, or a list of partition:broker such as 0:1,1:1",
    "client_match": "a list of selector=pattern, where selector is client_instance_id, client_id, "
    "client_software_name, client_software_version, client_source_address or client_source_port",
}


def check(validator: tuple[Any, ...], value: Any) -> str | None:
    """Return why `value` is refused, in Kafka's words, or None when it is allowed."""
    kind, *arguments = validator
    if kind == "at_least":
        return None if value >= arguments[0] else f"Value must be at least {arguments[0]}"
    if kind == "between":
        if value < arguments[0]:
            return f"Value must be at least {arguments[0]}"
        return None if value <= arguments[1] else f"Value must be no more than {arguments[1]}"
    if kind == "in":
        return None if value in arguments else f"String must be one of: {', '.join(arguments)}"
    if kind == "in_any_case":
        known = {argument.lower() for argument in arguments}
        return None if value.lower() in known else f"String must be one of (case insensitive): {', '.join(arguments)}"
    if kind in ("list_in", "list_in_or_empty"):
        if not value and kind == "list_in":
            return f"Configuration must not be empty. Valid values include: [{', '.join(arguments)}]"
        wrong = [part for part in value if part not in arguments]
        return f"String must be one of: {', '.join(arguments)}" if wrong else None
    return _check_special(kind, value)


def _check_special(kind: str, value: Any) -> str | None:
    if kind == "text_not_empty":
        return None if value else "String must be non-empty"
    if kind == "list_not_empty":
        return None if value and all(value) else "Configuration must not be empty."
    if kind == "gzip_level":
        fine = value == -1 or 1 <= value <= 9
        return None if fine else "Value must be between 1 and 9 or equal to -1"
    if kind == "offset_reset":
        return (
            None
            if _is_offset_reset(value)
            else (
                f"Invalid value `{value}` for configuration share.auto.offset.reset. "
                "The value must be either 'earliest', 'latest' or of the format "
                "'by_duration:<PnDTnHnMn.nS>'."
            )
        )
    if kind == "throttled_replicas":
        return (
            None
            if _is_throttled_replicas(value)
            else (
                "must be the literal '*' or a list of replicas in the following format: "
                "[partitionId]:[brokerId],[partitionId]:[brokerId],..."
            )
        )
    if kind == "client_match":
        return _check_client_match(value)
    raise AssertionError(f"validator {kind} is unknown")


def _printed(value: Any) -> Any:
    return f"[{', '.join(value)}]" if isinstance(value, list) else to_text(value)


def _parse_list(key: ConfigKey, text: str) -> list[str]:
    """Kafka drops repeated entries as well. It refuses empty ones, unless an entry before them is wrong."""
    entries = list(dict.fromkeys(split_list(text)))
    kind, *allowed = key.validator or ("",)
    if "" not in entries or kind == "throttled_replicas":
        return entries
    if kind.startswith("list_in") and next(entry for entry in entries if entry not in allowed):
        return entries
    raise RelationError(key.name, text, key.allowed, f"Configuration '{key.name}' values must not be empty.")


def _parse_integer(key: ConfigKey, text: str) -> int:
    value = parse_integer(text.strip(), _INTEGER_BITS[key.type])
    if value is None:
        raise ConfigError(key.name, text, key.allowed, f"Not a number of type {key.type}")
    return value


def _parse_double(key: ConfigKey, text: str) -> float:
    try:
        if "_" in text or not text.isascii():
            raise ValueError(text)
        value = float(text)  # with blanks around it, as in Java
        if value != value or value in (float("inf"), float("-inf")):
            raise ValueError(text)
        return value
    except ValueError:
        raise ConfigError(key.name, text, key.allowed, "Not a number of type DOUBLE") from None


_INT64_DIGITS: Final = 19


def _is_offset_reset(value: str) -> bool:
    if value in ("earliest", "latest"):
        return True
    if not value.startswith("by_duration:"):
        return False
    import re

    pattern = r"P(?=.)(?:(\d+)D)?(?:T(?=.)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:\.\d{1,9})?S)?)?"
    found = re.fullmatch(pattern, value[len("by_duration:") :], re.IGNORECASE | re.ASCII)
    if found is None:
        return False
    numbers = [(each or "0").lstrip("0") for each in found.groups()]
    if max(map(len, numbers)) > _INT64_DIGITS:
        return False
    days, hours, minutes, seconds = (int(each or "0") for each in numbers)
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds < 1 << 63  # what Java's Duration holds


def _is_throttled_replicas(value: list[str]) -> bool:
    if value == ["*"]:
        return True
    for entry in filter(None, value):
        partition, colon, broker = entry.partition(":")
        if not (colon and partition.isascii() and partition.isdigit() and broker.isascii() and broker.isdigit()):
            return False
    return True


_CLIENT_SELECTORS: Final = (
    "client_instance_id",
    "client_id",
    "client_software_name",
    "client_software_version",
    "client_source_address",
    "client_source_port",
)


def _check_client_match(value: list[str]) -> str | None:
    import re

    for entry in value:
        selector, _, pattern = entry.rstrip("=").partition("=")  # as Java's split, which drops empty parts at the end
        if not pattern or "=" in pattern or selector.strip() not in _CLIENT_SELECTORS:
            return f"Illegal client matching pattern: {entry}"
        try:
            re.compile(pattern)
        except re.error:
            return f"Illegal client matching pattern: {entry}"
    return None
