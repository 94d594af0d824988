"""Records `golden_data/delegation-tokens.json` again from Apache Kafka 4.3.1: python tests/control/record_tokens_golden.py.

A conversation (differential_tokens) with a node that has delegation.token.secret.key, and one with a node that has not.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "interop"), str(HERE.parent / "records"), str(HERE.parent.parent)]

from differential_tokens import GOLDEN, kafkas_words  # noqa: E402


def main() -> None:
    """Start nodes, talk, write the file."""
    words = {}
    for name in ("with tokens", "without tokens"):
        with tempfile.TemporaryDirectory() as folder:
            words[name] = kafkas_words(Path(folder), with_tokens=name == "with tokens")
    lines = {name: ",\n".join(json.dumps(each, ensure_ascii=False) for each in said) for name, said in words.items()}
    text = ",\n".join(f'"{name}": [\n{of}\n]' for name, of in lines.items())
    GOLDEN.write_text(f"{{\n{text}\n}}\n")


if __name__ == "__main__":
    main()
