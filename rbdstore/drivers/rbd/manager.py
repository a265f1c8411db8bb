# SPDX-License-Identifier: Apache-2.0
"""Commands to the cluster's manager, which runs tasks in the background.

librados keeps the answer of such a command on the stack of the call. An answer that comes after
the call has run into ``rados_mon_op_timeout`` is written there all the same, and the process dies
or worse. So no such limit may end the call: each command gets a client without one, and a thread
that may be left waiting. They take turns: as long as one waits, no more are asked. The manager
does not answer those either, and each would be one more thread and one more client.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import time
from typing import Any, Final

import rados

from rbdstore import exceptions
from rbdstore.drivers.rbd import connecting, errors
from rbdstore.drivers.rbd.options import ClientSettings
from rbdstore.spec import ImageSpec
from rbdstore.threads import threading

# It answers in milliseconds, and another one takes over from it in half a minute.
_LONGEST: Final = 60

# Held by the one that asks, until it has its answer, however late.
_turns: dict[ClientSettings, Any] = {}


def command(
    settings: ClientSettings, prefix: str, *, spec: ImageSpec | None = None, **arguments: str
) -> Any:
    """Send a command and return its answer, decoded; None where it is empty.

    :raises NotFound: there is no such thing as the arguments name
    """
    user = settings.user
    question = json.dumps({"prefix": prefix, "format": "json", **arguments})
    limit = min(settings.operation_timeout or _LONGEST, _LONGEST)
    until = time.monotonic() + limit
    turn = _turns.setdefault(settings, threading.Lock())
    thread = None
    if turn.acquire(timeout=limit):
        thread = _Asking(settings, question, turn)
        thread.start()
        thread.join(max(0.0, until - time.monotonic()))
    if thread is None or thread.is_alive():
        raise exceptions.Timeout(
            f"{prefix}: the cluster's manager did not answer within {limit} s; see "
            "`ceph mgr stat`",
            spec=spec,
            errno=errno.ETIMEDOUT,
        )
    if thread.failure is not None:
        with errors.translated(spec, user=user):
            raise thread.failure
    result, output, message = thread.answer
    if result:
        missing = exceptions.NotFound if spec is None else exceptions.ImageNotFound
        raise errors.from_errno(
            result,
            f"{prefix}: {message}",
            spec,
            missing=missing,
            user=user,
            service="mgr",
        )
    # A cancellation is answered by nothing at all.
    return json.loads(output) if output else None


class _Asking(threading.Thread):  # type: ignore[misc]  # the unpatched one
    """:param turn: which it has, and gives back when it ends"""

    def __init__(self, settings: ClientSettings, question: str, turn: Any) -> None:
        super().__init__(name="rbdstore-manager", daemon=True)
        # Nor does it make clones, for whose format the monitors would be asked without a limit.
        self.settings = dataclasses.replace(settings, operation_timeout=0, clone_format="2")
        self.question = question
        self.turn = turn
        self.answer: tuple[int, bytes, str] = (0, b"", "")
        self.failure: Exception | None = None

    def start(self) -> None:
        try:
            super().start()
        except BaseException:
            self.turn.release()
            raise

    def run(self) -> None:
        try:
            client, _ = connecting.connect(self.settings)
            try:
                self.answer = client.mgr_command(self.question, b"")
            finally:
                client.shutdown()
        except (rados.Error, exceptions.RbdStoreError) as exc:
            self.failure = exc
        finally:
            self.turn.release()


# Who had the turn at the fork has not come along.
os.register_at_fork(after_in_child=_turns.clear)
