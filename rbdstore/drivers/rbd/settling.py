# SPDX-License-Identifier: Apache-2.0
"""Letting librbd's threads leave an image before it is closed; otherwise the process may abort.

When librbd has opened an image at a snap, as it does with every parent, it reports that and then
goes back to the image once more (``ImageState::complete_action_unlock``). If its thread is held up
in between, as it may be with more threads than processors, the report is acted upon, the image
closed and its memory freed, all before the thread goes on: it uses freed memory, or the process
ends with ``std::system_error``. (16.2.15; to open a clone read-only and close it at once, in eight
threads, is enough. A handle for writing takes its watch back first, and that takes long enough.)

The thread is inside a completion of librados, which reports one after the other, though on several
threads. So once a completion that is asked for now has been reported, those before it have ended.
"""

from __future__ import annotations

from typing import Final

import rados

from rbdstore.threads import threading

# Who is waited for wants a processor, not the cluster: after this long it has had it.
_SECONDS: Final = 2


def settle(ioctx: rados.Ioctx) -> None:
    """Return when every completion that the client has begun to report has ended.

    :param ioctx: any pool's, of that client
    """
    reported = threading.Event()
    try:
        # Any object will do, there or not.
        ioctx.aio_stat("rbd_directory", lambda *_: reported.set())
    except rados.Error:
        return
    reported.wait(_SECONDS)
