# SPDX-License-Identifier: Apache-2.0
"""Writing objects into a head layer, which the caller keeps from being frozen meanwhile."""

from __future__ import annotations

import collections
import contextlib
import ctypes
import errno
import os
from collections.abc import Callable
from typing import Final, TypeVar

from rbdstore.drivers.file import locks, views
from rbdstore.drivers.file.views import View

T = TypeVar("T")

Look = Callable[[Callable[[View], None]], None]
"""Has something done with a view, again if that was another one by the end."""

_MOST_OPEN: Final = 16

_FALLOC_FL_KEEP_SIZE: Final = 1
_FALLOC_FL_PUNCH_HOLE: Final = 2
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_LIBC.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


class Objects:
    """The objects that one handle writes; the last few stay open."""

    def __init__(self, temporary: str, again: Callable[[], View]) -> None:
        """``again()`` gives the view anew, whose own layers the caller keeps as they are."""
        self._temporary = temporary
        self._again = again
        self._open: collections.OrderedDict[str, int] = collections.OrderedDict()
        self._unsynced: set[str] = set()
        # The folders that objects were removed from.
        self._thinned: set[str] = set()

    def write(self, view: View, number: int, start: int, data: bytes | memoryview) -> None:
        fd = self._find(view, number)
        whole = start == 0 and len(data) == view.object_size
        if fd is None and whole and self._has_below(view, number):
            self._replace(view, number, data)
            return
        _write(self._have(view, number) if fd is None else fd, data, start)

    def zero(self, view: View, number: int, start: int, stop: int) -> None:
        """Make a stretch of an object read as zeros, up to the image's end if it reaches there."""
        to_end = stop == view.object_size or number * view.object_size + stop >= view.size
        if start == 0 and to_end:
            self._clear(view, number)
            return
        fd = self._find(view, number)
        if fd is None:
            if not self._look(view, lambda now: any(views.stored_in(now, number, start, stop))):
                return
            fd = self._have(view, number)
        if to_end:
            if os.fstat(fd).st_size > start:
                os.ftruncate(fd, start)
        else:
            _punch(fd, start, stop)

    def _look(self, view: View, at: Callable[[View], T]) -> T:
        # Nobody changes the layers of this image, but those of its parents may change.
        return at(view) if view.parent is None else views.at_one_moment(view, self._again, at)

    def _has_below(self, view: View, number: int) -> bool:
        return self._look(view, lambda now: has_below(now, number))

    def _clear(self, view: View, number: int) -> None:
        if self._has_below(view, number):
            os.ftruncate(self._make(view, number), 0)
        elif view.parent is not None or len(view.layers) > 1:
            # It stays, empty: what a flatten puts below it must not be seen here.
            fd = self._find(view, number)
            if fd is not None:
                os.ftruncate(fd, 0)
        else:
            path = views.object_path(view.layers[0], number)
            self._unsynced.discard(path)
            self._thinned.add(view.layers[0])
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def _replace(self, view: View, number: int, data: bytes | memoryview) -> None:
        """Write all of an object of which there is something below."""
        with locks.temporary(self._temporary) as made:
            _write(made.fd, data, 0)
            linked = link(made, view.layers[0], number)
        fd = self._make(view, number)
        if not linked:
            _write(fd, data, 0)

    def _have(self, view: View, number: int) -> int:
        """The open file of an object, copied up if anything below has it."""
        if self._has_below(view, number):
            copy_up(lambda at: self._look(view, at), number, view.layers[0], self._temporary)
        return self._make(view, number)

    def _make(self, view: View, number: int) -> int:
        """The open file of an object, an empty one where there is none."""
        fd = self._find(view, number)
        if fd is None:
            path = views.object_path(view.layers[0], number)
            fd = self._keep(path, _create(path))
        return fd

    def _find(self, view: View, number: int) -> int | None:
        """The open file of an object; None: the layer has none."""
        path = views.object_path(view.layers[0], number)
        fd = self._open.get(path)
        # Another handle may have removed it, or have renamed another one over it; that nothing
        # links to it would not tell, for who was killed while making it left a link in `tmp`.
        if fd is not None and not _is_at(path, fd):
            self._let_go(path)
            fd = None
        if fd is None:
            try:
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
        return self._keep(path, fd)

    def _keep(self, path: str, fd: int) -> int:
        if path not in self._open:
            while len(self._open) >= _MOST_OPEN:
                self._let_go(next(iter(self._open)))
            self._open[path] = fd
        self._open.move_to_end(path)
        self._unsynced.add(path)
        return fd

    def _let_go(self, path: str) -> None:
        os.close(self._open.pop(path))

    def flush(self) -> None:
        """Return when all that was written outlives a loss of power."""
        folders = {os.path.dirname(path) for path in self._unsynced} | self._thinned
        for folder in list(folders):
            image = os.path.dirname(folder)
            folders |= {image, os.path.dirname(image)}
        synced = [_sync(path) for path in self._unsynced]
        if not all(synced):
            # One is in another layer by now, or has gone with its layer.
            os.sync()
        for folder in folders:
            sync_folder(folder)
        # Not before: what could not be made safe must not seem so the next time.
        self._unsynced.clear()
        self._thinned.clear()

    def close(self) -> None:
        for path in list(self._open):
            self._let_go(path)


def has_below(view: View, number: int) -> bool:
    """Whether there is anything of an object below the head layer."""
    with views.opened(view.layers[1:], number) as fd:
        if fd is not None:
            return os.fstat(fd).st_size > 0
    below = view.shared(number)
    return below is not None and any(views.stored(*below))


def copy_up(look: Look, number: int, layer: str, temporary: str) -> None:
    """Put into a layer what ``look`` shows of an object, unless there is something already."""
    with locks.temporary(temporary) as made:

        def fill(view: View) -> None:
            os.ftruncate(made.fd, 0)
            first = number * view.object_size
            for start, end in views.stored_in(view, number, 0, view.object_size):
                _write(made.fd, views.read(view, start, end - start), start - first)

        look(fill)
        link(made, layer, number)


def link(made: locks.FileLock, layer: str, number: int) -> bool:
    """Put a file into a layer as an object; False: there is one of that number already."""
    # Without power its name may outlive its content, and hide what was safe below it.
    os.fsync(made.fd)
    target = views.object_path(layer, number)
    with contextlib.suppress(FileExistsError):
        try:
            os.link(made.path, target)
        except FileNotFoundError:
            _make_folder(layer)
            os.link(made.path, target)
        return True
    return False


def sync_folder(path: str) -> None:
    """Return when what is in a folder outlives a loss of power. A missing one is no error."""
    _sync(path)


def _sync(path: str) -> bool:
    """Whether there was something to sync."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    return True


def _is_at(path: str, fd: int) -> bool:
    """Whether a path is still that of a file that is open."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except FileNotFoundError:
        return False


def _create(path: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o666)
    except FileNotFoundError:
        _make_folder(os.path.dirname(path))
        return os.open(path, flags, 0o666)


def _make_folder(layer: str) -> None:
    # Not its parents: an image's folder is there for as long as it can be written.
    with contextlib.suppress(FileExistsError):
        os.mkdir(layer)


def _write(fd: int, data: bytes | memoryview, offset: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, offset)
        view, offset = view[done:], offset + done


def _punch(fd: int, start: int, stop: int) -> None:
    stop = min(stop, os.fstat(fd).st_size)
    if start >= stop:
        return
    mode = _FALLOC_FL_KEEP_SIZE | _FALLOC_FL_PUNCH_HOLE
    if _LIBC.fallocate(fd, mode, start, stop - start) == 0:
        return
    number = ctypes.get_errno()
    if number != errno.EOPNOTSUPP:
        raise OSError(number, os.strerror(number))
    _write(fd, bytes(stop - start), start)
