"""Python threads that bear their name in the system too."""

from __future__ import annotations

import sys
import threading


class NamedThread(threading.Thread):
    """As threading.Thread; top -H and gdb show its name (15 characters). CPython does so by itself from 3.14 on."""

    def run(self) -> None:
        if sys.platform == "linux":
            try:
                with open(f"/proc/self/task/{threading.get_native_id()}/comm", "w") as file:
                    file.write(self.name)
            except OSError:  # no /proc
                pass
        super().run()
