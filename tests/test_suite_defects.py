# SPDX-License-Identifier: Apache-2.0
"""The suite can fail: over the example driver with one defect at a time, the test that is there
for it does.
"""

import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import memory  # noqa: F401 (it finds the example driver)
import pytest
from rbdstore_memory.data import Layer
from rbdstore_memory.image import MemoryImage
from rbdstore_memory.pool import MemoryPool
from rbdstore_memory.state import ObjectState

from rbdstore import completions, exceptions
from rbdstore.testing.suite.threads import THREADS

ALL_HAVE_LOOKED = threading.Barrier(THREADS)
SUITE = Path(__file__).parent / "test_suite.py"


@dataclasses.dataclass
class Defect:
    """A method that is replaced, and the test that sees it.

    The replacement is given the method itself first, so that it can call it.
    """

    seen_by: str
    where: type
    method: str
    replacement: Callable[..., Any]

    def __str__(self) -> str:
        return f"{self.where.__name__}.{self.method}-{self.seen_by}"


def resize_but_keep_the_overlap(resize, self, size):
    below = self.below
    resize(self, size)
    self.below = below


def create_without_a_lock(create, self, name, size, *, order=None):
    if name in self._found.names:
        raise exceptions.Duplicate("the name is taken", spec=self.spec(name))
    ALL_HAVE_LOOKED.wait(30)
    self._found.names.pop(name, None)
    create(self, name, size, order=order)


def add_with_shared_metadata(add, self, name, layer, features, metadata):
    add(self, name, layer, features, metadata)
    self.live(name).metadata = metadata


def rename_over_another(rename, self, name, new_name):
    self._found.names.pop(new_name, None)
    rename(self, name, new_name)


def roll_back_the_data_only(rollback, self, snap, *, progress=None):
    size = self.size()
    rollback(self, snap, progress=progress)
    self._image.head.resize(size)


def remove_in_spite_of_writers(remove, self, name, *, progress=None):
    self.live(name).writers.clear()
    remove(self, name, progress=progress)


def remove_in_spite_of_children(remove_snap, self, snap_id):
    self._image.snaps.pop(snap_id)


def write_what_fits(write, self, offset, data):
    write(self, offset, data[: max(0, self.size() - offset)])


def write_when_it_is_waited_for(_, self, offset, data, done=None):
    def write():
        self.write(offset, data)
        if done is not None:
            done()

    return completions.Postponed(write)


def write_what_is_in_the_buffer_then(_, self, offset, data, done=None):
    if done is not None:
        done()
    return completions.Postponed(lambda: self.write(offset, data))


def watchers_and_oneself(watchers, self):
    return [*watchers(self), *([self._address] if self.read_only else [])]


def cut_off_whom_nobody_asked(fence, self):
    return self.watchers()


def children_that_have_names(children, self, snap_id):
    return [child for child in children(self, snap_id) if not child.trashed]


def parent_without_its_id(parent, self):
    found = parent(self)
    return found and dataclasses.replace(found, image_id="")


def extents_since_ever(extents, self, offset, length, *, from_snap=None, **kwargs):
    return extents(self, offset, length, **kwargs)


def extents_with_the_parents(extents, self, *args, include_parent=True, **kwargs):
    return extents(self, *args, **kwargs)


def extents_without_holes(extents, self, *args, **kwargs):
    return (dataclasses.replace(each, exists=True) for each in extents(self, *args, **kwargs))


def extents_of_own_data(extents, self, *args, **kwargs):
    size = self.object_size
    return (
        each
        for each in extents(self, *args, **kwargs)
        if each.offset // size in self._layer.objects
    )


def flatten_without_snaps(flatten, self, *, progress=None):
    features, self._image.features = self._image.features, frozenset()
    flatten(self, progress=progress)
    self._image.features = features


DEFECTS = [
    # Nothing is done
    Defect("test_set_snap", MemoryImage, "set_snap", lambda *_: None),
    Defect("test_what_is_discarded_reads_as_zeros", MemoryImage, "discard", lambda *_: None),
    Defect("test_the_lock", MemoryImage, "lock", lambda *_: None),
    Defect("test_flatten", MemoryImage, "flatten", lambda *_, progress=None: None),
    Defect("test_they_are_no_images", MemoryPool, "remove_object", lambda *_: None),
    # Too much is done
    Defect("test_rename_to_a_name_that_is_taken", MemoryPool, "rename", rename_over_another),
    Defect(
        "test_remove_what_is_open_for_writing", MemoryPool, "remove", remove_in_spite_of_writers
    ),
    Defect(
        "test_a_snap_with_children_stays", MemoryImage, "remove_snap", remove_in_spite_of_children
    ),
    Defect(
        "test_shrinking_must_be_allowed",
        MemoryImage,
        "resize",
        lambda resize, self, size, *, allow_shrink=False: resize(self, size, allow_shrink=True),
    ),
    Defect(
        "test_it_is_kept_for_a_time",
        MemoryPool,
        "trash_move",
        lambda trash_move, self, name, *, delay=0: trash_move(self, name),
    ),
    Defect("test_one_creates_a_name", MemoryPool, "create", create_without_a_lock),
    Defect(
        "test_nothing_is_written_after_its_end",
        ObjectState,
        "is_leased_to",
        lambda _, self, cookie: self.cookie == cookie,
    ),
    Defect(
        "test_one_has_it",
        ObjectState,
        "is_leased_to_another",
        lambda _, self, cookie: False,
    ),
    # Something else is done
    Defect("test_a_snap_stays_what_it_was", Layer, "copy", lambda _, self: self),
    Defect("test_nor_does_what_was_the_parents", Layer, "resize", resize_but_keep_the_overlap),
    Defect("test_nothing_is_written_beyond_the_end", MemoryImage, "write", write_what_fits),
    Defect("test_rollback", MemoryImage, "rollback", roll_back_the_data_only),
    Defect("test_the_metadata_are_copied", MemoryPool, "add", add_with_shared_metadata),
    Defect("test_the_clones_own_snaps", MemoryImage, "flatten", flatten_without_snaps),
    Defect(
        "test_what_is_written_in_flight",
        MemoryImage,
        "aio_write",
        write_what_is_in_the_buffer_then,
    ),
    Defect(
        "test_close_waits_for_what_is_in_flight",
        MemoryImage,
        "aio_write",
        write_when_it_is_waited_for,
    ),
    # Something else is told
    Defect(
        "test_what_is_written_in_flight",
        MemoryImage,
        "aio_write",
        lambda aio_write, self, offset, data, done=None: aio_write(self, offset, data),
    ),
    Defect(
        "test_writers_are_watchers_and_readers_are_not",
        MemoryImage,
        "watchers",
        watchers_and_oneself,
    ),
    Defect("test_nobody_cuts_itself_off", MemoryImage, "fence", cut_off_whom_nobody_asked),
    Defect("test_a_child_in_the_trash", MemoryImage, "children", children_that_have_names),
    Defect("test_a_parent_in_the_trash", MemoryImage, "parent", parent_without_its_id),
    Defect("test_what_changed_since_a_snap", MemoryImage, "extents", extents_since_ever),
    Defect("test_what_changed_since_a_snap", MemoryImage, "extents", extents_without_holes),
    Defect("test_the_parents_data_count", MemoryImage, "extents", extents_of_own_data),
    Defect("test_what_a_clone_has_of_its_own", MemoryImage, "extents", extents_with_the_parents),
    Defect("test_what_is_not_there_cannot_be_opened", MemoryPool, "spec", lambda *_: None),
]


@pytest.fixture
def outcome(tmp_path, monkeypatch):
    """Run tests of the suite, in this process: whether they fail."""
    # There, too, a test that fails must not take minutes to say why.
    monkeypatch.setenv("CI", "true")
    ini = tmp_path / "pytest.ini"
    ini.write_text("[pytest]\n")
    options = ("--noconftest", "--import-mode=importlib", "--capture=no", "-c", str(ini))
    plugins = [
        word
        for name in ("terminal", "cacheprovider", "faulthandler", "timeout")
        for word in ("-p", f"no:{name}")
    ]

    def run(*names):
        tests = [f"{SUITE}::TestMemoryDriver::{name}" for name in names]
        return pytest.main([*options, *plugins, *tests])

    return run


@pytest.mark.parametrize("defect", DEFECTS, ids=str)
def test_a_defect_is_seen(monkeypatch, outcome, defect):
    method = getattr(defect.where, defect.method)
    monkeypatch.setattr(
        defect.where,
        defect.method,
        lambda *args, **kwargs: defect.replacement(method, *args, **kwargs),
    )
    assert outcome(defect.seen_by) == pytest.ExitCode.TESTS_FAILED


def test_without_a_defect_they_pass(outcome):
    assert outcome(*{defect.seen_by for defect in DEFECTS}) == pytest.ExitCode.OK
