"""The classes with which Kafka reads compressed batches, in one JVM (see kafka/CodecReader.java).

As a program, it records their verdicts on the streams of tests/records/codec_variants.py.
"""

from __future__ import annotations

import subprocess
import sys
from base64 import b64encode
from pathlib import Path

from java_tools import KAFKA_JARS

HERE = Path(__file__).parent
if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent / "records"))

import codec_variants  # noqa: E402 - pytest sets the path, a program does not


class JavaReaders:
    """Owner: the test session."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["java", "-Xmx512m", "-cp", f"{KAFKA_JARS}/*", str(HERE / "kafka" / "CodecReader.java")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def read(self, codec: str, stream: bytes) -> int | None:
        """The CRC-32 of the decompressed stream; None if the stream is refused."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(b"%d %s\n" % (codec_variants.CODEC_NUMBERS[codec], b64encode(stream)))
        self._process.stdin.flush()
        answer = self._process.stdout.readline().decode()
        if not answer:
            raise RuntimeError(f"the JVM ended with {self._process.wait()}")
        return None if answer.startswith("refused") else int(answer.split()[1])

    def close(self) -> None:
        """End the JVM."""
        self._process.kill()
        self._process.wait()


def record() -> None:
    """Rewrite the golden file."""
    readers = JavaReaders()
    rows = []
    for stream in codec_variants.streams():
        verdicts = [readers.read(stream.codec, each) for each in codec_variants.mutations(stream)]
        rows.append(codec_variants.encode_verdicts(stream, readers.read(stream.codec, stream.data), verdicts))
    readers.close()
    codec_variants.write_golden(rows)
    print(sum(len(str(row["mutations"])) for row in rows), "verdicts in", codec_variants.GOLDEN)


if __name__ == "__main__":
    record()
