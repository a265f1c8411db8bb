# SPDX-License-Identifier: Apache-2.0
"""Whether a connection is any good, by what its calls came to.

A call without an answer may be that call alone, or the cluster, or a connection that the cluster
has given up. Which of them, is found out by a look: by asking others, and with a new connection
(:meth:`rbdstore.drivers.rbd.client.Client.hold`). Here is when that is due.
"""

from __future__ import annotations

import time
from typing import Final

# So many calls without an answer are not the fault of each.
_MANY: Final = 2
# Between two looks at a connection on which others have answers.
_REST_SECONDS: Final = 10
# For how long it is taken for granted that what was silent still is.
_SURE_SECONDS: Final = 2


class Health:
    """Of one connection. Called by all threads; none of it need be exact.

    :ivar silent: no call has had an answer since one began that had none within its limit
    """

    def __init__(self) -> None:
        self.silent = False
        self._timeouts = 0
        self._timed_out = 0.0
        self._answered = 0.0
        self._looked_at = 0.0

    def answered(self) -> None:
        """Note that a call went well."""
        self._answered = time.monotonic()
        self.silent = False

    def timed_out(self, began: float) -> None:
        """Note that a call had no answer within its limit, which began then."""
        self.silent = self._answered < began
        # Calls that waited at the same time waited for the same thing.
        if began >= self._timed_out:
            self._timeouts += 1
        self._timed_out = time.monotonic()

    def wants_a_look(self) -> bool:
        rested = time.monotonic() >= self._looked_at + _REST_SECONDS
        return self.silent or (self._timeouts >= _MANY and rested)

    def looked_at(self, *, is_well: bool) -> None:
        """Note what a look came to."""
        self._looked_at = time.monotonic()
        if is_well:
            self.silent = False
            self._timeouts = 0

    def is_surely_silent(self) -> bool:
        """Whether it was found silent just now, so that it need not be looked at again."""
        return self.silent and time.monotonic() < self._looked_at + _SURE_SECONDS
