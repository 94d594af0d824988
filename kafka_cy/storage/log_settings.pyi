from typing import Any

DEFAULTS: dict[str, Any]

def default_of(name: str) -> Any: ...
