from typing import Any

TOPIC_DEFAULTS: dict[str, Any]
