"""What holds for all tests."""

from __future__ import annotations

import signal

# A shell that runs the tests in the background ignores SIGINT, and so would every process that they start and interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
