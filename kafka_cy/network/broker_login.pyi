from collections.abc import Callable, Generator
from typing import Any

class BrokerLogin:
    def __init__(
        self, mechanism: str, begin: Callable[[str], Generator[bytes | None, bytes]], encryption: Any = None
    ) -> None: ...
    @property
    def transport(self) -> Any: ...
