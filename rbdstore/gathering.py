# SPDX-License-Identifier: Apache-2.0
"""Group commit: what several callers need is done once, for all who called before it began.

::

    with gathering.join(image_id) as group:
        note(group.name)            # each for itself, before it is done
        made = group.once(make)     # done by one of them, when all have noted it
        use(made)                   # each for itself
    # from here on all of them have used it, or have failed

Callers of one key become members of one group, each in a thread of its own. A group takes members
until none has come for a moment, and for as long as the group before it is being served. No member
hangs for another's failure or interruption, and none fails for it.
"""

from __future__ import annotations

import copy
import time
import types
from collections.abc import Callable, Hashable
from typing import Any, Generic, Self, TypeVar

from rbdstore import threads

T = TypeVar("T")

# The first one's failure may be of its own making; the second one's is everybody's.
_MOST_FAILURES = 2

# How often a group is given as long again, while there are still some who come.
_MOST_WAITS = 10


class Gathering(Generic[T]):
    """Brings together those who call for the same key. May be used by many threads.

    :param seconds: for how long none must have come; it is no more than ten times as long in all
    :param new_name: gives each group its name
    """

    def __init__(self, seconds: float, new_name: Callable[[], str]) -> None:
        self._seconds = seconds
        self._new_name = new_name
        self.reset()
        threads.reset_in_child(self)

    def reset(self) -> None:
        """Forget everybody: a child process has none of its parent's threads."""
        self._changed = threads.threading.Condition()
        self._open: dict[Hashable, Group[T]] = {}
        self._served: dict[Hashable, Group[T]] = {}

    def join(self, key: Hashable) -> Member[T]:
        """Become a member of the next group, for the length of a ``with`` block."""
        return Member(self, key)


class Group(Generic[T]):
    """Those who share. All of it is read and changed under the gathering's lock."""

    def __init__(self, key: Hashable, name: str) -> None:
        self.key = key
        self.name = name
        self.members = 0
        self.preparing = 0
        self.is_led = False
        self.is_over = False
        self.failures = 0
        self.outcome: Any = None
        self.error: BaseException | None = None


class Member(Generic[T]):
    """One caller's part in a group.

    Leaving the block, well or not, waits until every member has left it: whatever one of them
    takes back then is needed by nobody else.
    """

    def __init__(self, gathering: Gathering[T], key: Hashable) -> None:
        self._all = gathering
        self._key = key
        self._is_in = False
        self._is_preparing = False
        self._is_leading = False

    @property
    def name(self) -> str:
        """The group's own, the same for all members."""
        return self._group.name

    def __enter__(self) -> Self:
        try:
            self._enter()
        except BaseException as error:
            # Ctrl-C, of which nobody else must know.
            self._leave(error)
            raise
        return self

    def _enter(self) -> None:
        with self._all._changed:
            group = self._all._open.get(self._key)
            if group is None:
                group = self._all._open[self._key] = Group(self._key, self._all._new_name())
            self._group = group
            self._is_in = self._is_preparing = True
            group.members += 1
            group.preparing += 1

    def once(self, do: Callable[[], T]) -> T:
        """Have ``do`` called by one of the members, and return what it returned.

        It is called after each of them has called this, or has left. If it fails, that member
        fails alone and another one tries again, which must bear that it may have been done. If it
        fails then too, all who wait fail, with that error.
        """
        group, changed = self._group, self._all._changed
        with changed:
            self._end_preparing()
            threads.wait_for(changed, lambda: group.is_over or not group.is_led)
            if not group.is_over:
                group.is_led = self._is_leading = True
        if self._is_leading:
            self._close_group()
            outcome = do()
            with changed:
                group.outcome = outcome
                self._end()
        elif group.error is not None:
            raise _own(group.error) from group.error
        made: T = group.outcome
        return made

    def _close_group(self) -> None:
        """Let nobody in any more, once it is time; then wait for those who are in."""
        everyone, group = self._all, self._group
        if everyone._served.get(self._key) is not group:
            self._wait_for_more()
        with everyone._changed:
            threads.wait_for(
                everyone._changed,
                lambda: everyone._served.setdefault(self._key, group) is group,
            )
            if everyone._open.get(self._key) is group:
                del everyone._open[self._key]
            threads.wait_for(everyone._changed, lambda: not group.preparing)

    def _wait_for_more(self) -> None:
        for _ in range(_MOST_WAITS):
            members = self._group.members
            time.sleep(self._all._seconds)
            if self._group.members <= members:
                return

    def _end(self) -> None:
        self._group.is_over = True
        self._forget()
        self._all._changed.notify_all()

    def _forget(self) -> None:
        for groups in (self._all._open, self._all._served):
            if groups.get(self._key) is self._group:
                del groups[self._key]

    def _end_preparing(self) -> None:
        if self._is_preparing:
            self._is_preparing = False
            self._group.preparing -= 1
            if not self._group.preparing:
                self._all._changed.notify_all()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        try:
            self._leave(error)
        except BaseException:
            # Once more, since the others would wait for ever.
            self._leave(error)
            raise
        with self._all._changed:
            threads.wait_for(self._all._changed, lambda: not self._group.members)

    def _leave(self, error: BaseException | None) -> None:
        """Have nobody wait for this one. Repeatable, whatever point Ctrl-C cut it off at."""
        if not self._is_in:
            return
        with self._all._changed:
            group = self._group
            self._end_preparing()
            if self._is_leading and not group.is_over:
                self._is_leading = group.is_led = False
                # Who was interrupted has not failed.
                group.failures += isinstance(error, Exception)
                if group.failures == _MOST_FAILURES:
                    group.error = error
                    self._end()
            if group.is_over or group.members == 1:
                self._forget()
            self._all._changed.notify_all()
            # Last, and without a call in between.
            self._is_in = False
            group.members -= 1


def _own(error: BaseException) -> BaseException:
    """A copy for one thread: an error carries where it was raised, and the notes made on it."""
    own = copy.copy(error)
    if notes := getattr(error, "__notes__", None):
        own.__notes__ = list(notes)
    return own
