# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and SIGTERM: what is in flight is taken back, once, to its end."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclasses.dataclass(slots=True)
class Signals:
    """Which signal ended the command, if one did.

    :ivar is_end: the command was to go on until then, and has succeeded
    """

    met: signal.Signals | None = None
    is_end: bool = False


_signals = Signals()


@contextlib.contextmanager
def as_an_end() -> Iterator[None]:
    """Have a signal end the block, which else would go on for ever; the command has succeeded."""
    try:
        yield
    except KeyboardInterrupt:
        _signals.is_end = True


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """Have a signal end the process then and there: nothing was begun that wants taking back.

    Ceph's client may not return for minutes, and until it does no exception can be raised.
    """
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def raised() -> Iterator[Signals]:
    """Raise :class:`KeyboardInterrupt` for the first signal; have the ones that follow wait.

    The services take back what was begun when they meet an exception. A second one, raised in the
    middle of that, would leave things behind.
    """
    global _signals
    signals = _signals = Signals()

    def meet(number: int, _frame: FrameType | None) -> None:
        if signals.met is not None:
            # Not through sys.stderr, which may be in use by what was interrupted.
            os.write(2, b"rbdstore: taking back what was begun; please wait\n")
            return
        signals.met = signal.Signals(number)
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        for number, handler in before.items():
            # What was started with nohup goes on.
            if handler is not signal.SIG_IGN:
                signal.signal(number, meet)
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
