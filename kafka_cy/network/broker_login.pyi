from collections.abc import Callable, Generator
from typing import Any

class BrokerLogin:
    def __init__(
        self, mechanism: str, begin: Callable[[], Generator[bytes, bytes]], encryption: Any = None
    ) -> None: ...
    @property
    def transport(self) -> Any: ...
