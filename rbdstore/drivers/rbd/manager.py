# SPDX-License-Identifier: Apache-2.0
"""Commands to the cluster's manager, which runs tasks in the background.

librados keeps the answer of such a command on the stack of the call. An answer that comes after
the call has run into ``rados_mon_op_timeout`` is written there all the same, and the process dies
or worse. So no such limit may end the call: each command gets a client without one, and a thread
that may be left waiting. As long as one is, no more are asked: the manager does not answer those
either, and each would be one more thread and one more client.
"""

from __future__ import annotations

import dataclasses
import errno
import json
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

# Those that are still waiting for an answer that did not come in time.
_unanswered: dict[ClientSettings, _Asking] = {}


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
    thread = _unanswered.get(settings)
    if thread is not None:
        thread.join(limit)
    if thread is None or not thread.is_alive():
        _unanswered.pop(settings, None)
        thread = _Asking(settings, question)
        thread.start()
        thread.join(max(0.0, until - time.monotonic()))
    if thread.is_alive():
        _unanswered[settings] = thread
        raise exceptions.Timeout(
            f"{prefix}: the cluster's manager did not answer within {limit} s; see "
            "`ceph mgr stat`",
            spec=spec,
            errno=errno.ETIMEDOUT,
        )
    if thread.failure is not None:
        raise errors.translate(thread.failure, spec, user=user) from thread.failure
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
    def __init__(self, settings: ClientSettings, question: str) -> None:
        super().__init__(name="rbdstore-manager", daemon=True)
        self.settings = dataclasses.replace(settings, operation_timeout=0)
        self.question = question
        self.answer: tuple[int, bytes, str] = (0, b"", "")
        self.failure: rados.Error | None = None

    def run(self) -> None:
        client = connecting.configured(self.settings)
        try:
            client.connect()
            self.answer = client.mgr_command(self.question, b"")
        except rados.Error as exc:
            self.failure = exc
        finally:
            client.shutdown()
