def outdate_terms() -> None:
    """Something has changed on which the settings of share groups may depend."""

def version_of_terms() -> int:
    """Grows with each `outdate_terms`."""
