"""The priority of threads that serve pages."""

from __future__ import annotations

import os
import sys
import threading

NICE = 10  # a tenth of the weight of a thread at 0


def give_way() -> None:
    """Give the calling thread the lowest priority: on a busy machine only scrapes become slower."""
    if sys.platform == "linux":  # elsewhere priorities apply to whole processes
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
