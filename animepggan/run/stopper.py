"""The signals that end a run: heard while it trains, so that it saves first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopper:
    """The signals that end a run while it trains: the first is remembered, a second one stops at once.

    SIGINT and SIGTERM; where the system has them also SIGHUP, of a terminal that closes (but not under nohup), and
    SIGUSR1, by which schedulers warn.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        optional = (getattr(signal, name, None) for name in ("SIGHUP", "SIGUSR1"))  # Windows has neither
        heard = (number for number in optional if number and signal.getsignal(number) is not signal.SIG_IGN)
        self.numbers = (signal.SIGINT, signal.SIGTERM, *heard)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle them for the time of the block; in the main thread, elsewhere Python allows it not."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._handle) for number in self.numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.signal_number = number
        # From here on the system itself acts, even in the middle of a long operation of torch.
        for other in self.numbers:
            # A terminal that closes says so twice, itself and by its shell.
            hung_up = other == number == getattr(signal, "SIGHUP", None)
            signal.signal(other, signal.SIG_IGN if hung_up else signal.SIG_DFL)
