STORAGE_ERROR_NAMES: dict[int, str]

class StorageFailure(OSError):
    code: int
    error_number: int
    def __init__(self, message: str, code: int, error_number: int = 0) -> None: ...

class OffsetOutOfRange(StorageFailure): ...

def count_of_failures() -> int: ...
