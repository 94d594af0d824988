"""Python threads that have a name in the operating system too."""

from __future__ import annotations

import sys
import threading


class NamedThread(threading.Thread):
    """A threading.Thread whose name `top -H` and gdb show (15 characters). CPython does this itself from 3.14 on."""

    def run(self) -> None:
        if sys.platform == "linux":
            try:
                with open(f"/proc/self/task/{threading.get_native_id()}/comm", "w") as file:
                    file.write(self.name)
            except OSError:  # no /proc
                pass
        super().run()
