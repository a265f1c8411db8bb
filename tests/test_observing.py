# SPDX-License-Identifier: Apache-2.0
"""What is told of each operation: in the log, and to observers."""

import inspect
import logging
import os
import threading

import greenlet
import pytest
from oslo_config import cfg
from oslo_context import context
from oslo_log import formatters

import rbdstore
from rbdstore import backups, disks, exceptions, images, observing, parallel, volumes
from rbdstore.trash import contents

MiB = 1 << 20

# What changes something, or moves data: each of these is a line of the log.
WORK = {
    "backups": {
        "create",
        "create_from_file",
        "delete",
        "export",
        "import_",
        "prune",
        "remove_metadata",
        "restore",
        "restore_to_file",
        "set_metadata",
        "verify",
    },
    "disks": {
        "cleanup",
        "clone",
        "create_snapshot",
        "delete",
        "delete_all",
        "flatten",
        "import_image",
        "remove_snapshot",
        "resize",
        "rollback_to_snapshot",
        "snapshot_to_image",
    },
    "images": {"add", "delete", "get"},
    "trash": {"restore"},
    "volumes": {
        "clone",
        "copy_from",
        "copy_to_image",
        "create",
        "create_cloned_volume",
        "create_cloned_volumes",
        "create_from_image",
        "create_from_snapshot",
        "create_snapshot",
        "delete",
        "delete_snapshot",
        "extend",
        "flatten",
        "purge_deleted",
        "reading",
        "rename",
        "rename_snapshot",
        "revert_to_snapshot",
        "set_limits",
        "switch_features",
        "unprotect_snapshot",
    },
}
SERVICES = {
    "backups": backups.BackupStore,
    "disks": disks.DiskStore,
    "images": images.ImageStore,
    "trash": contents.Trash,
    "volumes": volumes.VolumeStore,
}


class Ear(observing.Observer):
    """Keeps what it is told."""

    def __init__(self):
        self.operations = []

    def ended(self, operation):
        self.operations.append(operation)

    @property
    def told(self):
        return [(each.name, each.outcome) for each in self.operations]


@pytest.fixture
def store(tmp_path):
    with rbdstore.connect("file", file_store_datadir=str(tmp_path / "data")) as opened:
        yield opened


@pytest.fixture
def ear():
    found = Ear()
    observing.add(found)
    yield found
    observing.remove(found)


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "rbdstore")
    return lambda: [
        record.getMessage() for record in caplog.records if record.levelno >= logging.INFO
    ]


@pytest.mark.parametrize("noun", SERVICES)
def test_each_verb_has_its_place(noun):
    verbs = {
        f"{noun}.{name}"
        for name, _do in inspect.getmembers(SERVICES[noun], inspect.isfunction)
        if not name.startswith("_") and name not in observing.NO_OPERATIONS
    }
    of_noun = {
        name for name in observing.LOOKS | observing.NO_OPERATIONS if name.startswith(f"{noun}.")
    }
    assert verbs == of_noun | {f"{noun}.{verb}" for verb in WORK[noun]}


def test_an_operation_is_one_line_and_one_event(store, ear, lines):
    stored = store.images.add("image-1", b"x" * MiB)
    assert b"".join(store.images.get(stored.uri)) == b"x" * MiB
    store.volumes.clone("volume-1", stored.uri, size=2 * MiB)
    store.volumes.flatten("volume-1")
    store.disks.create_snapshot("volume-1", "one")
    # It calls the volumes' verbs.
    store.disks.remove_snapshot("volume-1", "one")
    store.volumes.delete("volume-1")
    store.images.delete(stored.uri)
    assert ear.told == [
        (name, "ok")
        for name in (
            "images.add",
            "images.get",
            "volumes.clone",
            "volumes.flatten",
            "disks.create_snapshot",
            "disks.remove_snapshot",
            "volumes.delete",
            "images.delete",
        )
    ]
    said = lines()
    assert len(said) == len(ear.operations)
    assert said[0].startswith("images.add image_id=image-1 in file/rbd: ok in 0.")
    assert said[0].endswith(f" s, {MiB} bytes written, size {MiB}")
    assert said[1].endswith(f" s, {MiB} bytes read")
    assert said[2].startswith(f"volumes.clone name=volume-1 uri=image-1 size={2 * MiB} in ")


def test_a_failure_is_told_by_its_class(store, ear, lines):
    class Gone(ConnectionResetError):
        pass

    class Odd(Exception):
        pass

    def body(error):
        yield b"data"
        raise error

    store.volumes.create("volume-1", MiB)
    for name, error in (("one", Gone()), ("two", Odd()), ("three", exceptions.Vanished("gone"))):
        with pytest.raises(type(error)):
            store.images.add(name, body(error))
    with pytest.raises(exceptions.Duplicate):
        store.volumes.create("volume-1", MiB)
    store.volumes.delete("volume-1")
    outcomes = [outcome for _name, outcome in ear.told]
    # Users' own classes have any number of names.
    assert outcomes == ["ok", "ConnectionResetError", "other", "Vanished", "Duplicate", "ok"]
    assert "images.add image_id=one in file/rbd: ConnectionResetError in " in lines()[1]


def test_looks_are_for_debugging(store, ear, caplog):
    caplog.set_level(logging.DEBUG, "rbdstore")
    assert store.volumes.list() == []
    store.volumes.stats()
    assert ear.told == [("volumes.list", "ok"), ("volumes.stats", "ok")]
    levels = {
        record.levelno for record in caplog.records if record.name == observing.LOG.logger.name
    }
    assert levels == {logging.DEBUG}


class TestADownload:
    @pytest.fixture
    def image(self, store, ear):
        stored = store.images.add("image-1", b"x" * 9 * MiB)
        ear.operations.clear()
        yield stored
        store.images.delete(stored.uri)

    def test_ends_when_it_is_closed(self, store, image, ear):
        reading = store.images.get(image.uri)
        next(reading)
        assert ear.operations == []
        reading.close()
        reading.close()
        assert ear.told == [("images.get", "ok")]
        assert 0 < ear.operations[0].read < 9 * MiB

    def test_or_forgotten(self, store, image, ear):
        ended = threading.Event()
        ear.ended = lambda operation: (ear.operations.append(operation), ended.set())
        reading = store.images.get(image.uri)
        next(reading)
        del reading
        assert ended.wait(60)
        assert ear.told == [("images.get", "ok")]

    def test_or_has_failed(self, store, ear):
        uri = store.images.add("image-2", b"x" * 9 * MiB).uri
        ear.operations.clear()
        reading = store.images.get(uri)
        next(reading)
        store.images.delete(uri)
        with pytest.raises(exceptions.Vanished):
            list(reading)
        assert ear.told == [("images.delete", "ok"), ("images.get", "Vanished")]

    def test_as_a_body_is_told_of_by_itself(self, store, image, ear):
        copy = store.images.add("copy", store.images.get(image.uri))
        assert sorted(ear.told) == [("images.add", "ok"), ("images.get", "ok")]
        moved = {each.name: (each.read, each.written) for each in ear.operations}
        assert moved == {"images.add": (0, 9 * MiB), "images.get": (9 * MiB, 0)}
        store.images.delete(copy.uri)


def test_what_lasts_for_a_block(store, ear):
    store.volumes.create("volume-1", MiB)

    def fail():
        with store.volumes.reading("volume-1") as data:
            list(data)
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    with store.volumes.reading("volume-1"):
        pass
    store.volumes.copy_from(store.volumes, "volume-1", "volume-2")
    for name in ("volume-1", "volume-2"):
        store.volumes.delete(name)
    assert ear.told[1:4] == [
        ("volumes.reading", "LookupError"),
        ("volumes.reading", "ok"),
        ("volumes.copy_from", "ok"),
    ]


def test_backups_move_data_both_ways(store, ear):
    store.volumes.create("volume-1", 2 * MiB)
    with store.volumes.pool.open("volume-1", read_only=False) as image:
        image.write(0, b"x" * MiB)
        image.flush()
    store.backups.create(store.volumes, "volume-1", "one")
    store.backups.create(store.volumes, "volume-1", "two")
    store.backups.prune("volume-1", 0)
    store.volumes.delete("volume-1")
    first = ear.operations[1]
    assert (first.name, first.detail) == ("backups.create", f"full, size {2 * MiB}")
    assert first.read >= MiB
    assert first.written >= MiB
    # The deletions are parts of it.
    assert [each.name for each in ear.operations[2:]] == [
        "backups.create",
        "backups.prune",
        "volumes.delete",
    ]


def test_gc_is_an_operation(store, ear):
    store.gc()
    store.gc(apply=True)
    store.purge_deleted()
    assert [name for name, _outcome in ear.told] == [
        "gc.look",
        "gc.reclaim",
        "volumes.purge_deleted",
    ]
    assert ear.operations[0].detail == "0 leftovers found, 0 reclaimed, 0 left"


def test_no_secret_and_no_second_line(store, lines):
    with pytest.raises(exceptions.InvalidLocation):
        store.images.get("swift+https://user:secret@host/image")
    with pytest.raises(exceptions.InvalidName):
        store.volumes.create("one\nINFO rbdstore all is well", MiB)
    with pytest.raises(exceptions.InvalidName):
        store.volumes.create("x" * 5000, MiB)
    assert lines()[0].startswith("images.get uri=? in file/rbd: InvalidLocation in ")
    assert all(len(line.splitlines()) == 1 for line in lines())
    assert max(map(len, lines())) < 200
    location = "https://user:secret@host/volume"
    for about in ({"name": location}, {"names": [location]}):
        assert "secret" not in str(observing.Operation("volumes.create", "fast", about))


def test_the_line_has_the_request_id(store, caplog):
    """oslo.log adds it, by the context of the thread."""
    caplog.set_level(logging.INFO, "rbdstore")
    conf = cfg.ConfigOpts()
    conf.register_opts(
        [
            cfg.StrOpt(
                "logging_context_format_string",
                default="%(global_request_id)s %(request_id)s %(message)s",
            ),
            cfg.StrOpt("logging_default_format_string", default="- %(message)s"),
            cfg.StrOpt("logging_exception_prefix", default=""),
            cfg.StrOpt("logging_user_identity_format", default=""),
            cfg.StrOpt("logging_debug_format_suffix", default=""),
        ]
    )
    conf([])
    formatter = formatters.ContextFormatter(config=conf)
    store.volumes.create("volume-1", MiB)
    without = formatter.format(caplog.records[-1])
    context.RequestContext(request_id="req-1", global_request_id="req-0", overwrite=True)
    try:
        store.volumes.delete("volume-1")
        with_context = formatter.format(caplog.records[-1])
    finally:
        del context._request_store.context
    assert without.startswith("- volumes.create name=volume-1 ")
    assert with_context.startswith("req-0 req-1 volumes.delete name=volume-1 in file/rbd: ok")


class TestAtTheSameTime:
    def test_threads(self, store, ear):
        threads = [
            threading.Thread(target=store.volumes.create, args=(f"volume-{number}", MiB))
            for number in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ear.told == [("volumes.create", "ok")] * 8
        store.gc(apply=True)
        for number in range(8):
            store.volumes.delete(f"volume-{number}")

    def test_what_an_operation_does_in_threads_is_a_part_of_it(self, store, ear):
        with observing.operation("test", "here"):
            parallel.each(lambda _: store.volumes.stats(), range(20))
        assert ear.told == [("test", "ok")]

    def test_green_threads(self, store, ear):
        """One that waits for its body does not make the others parts of it."""

        def body():
            yield b"one"
            main.switch()
            yield b"two"

        main = greenlet.getcurrent()
        upload = greenlet.greenlet(lambda: store.images.add("image-1", body()))
        upload.switch()
        store.volumes.create("volume-1", MiB)
        upload.switch()
        assert ear.told == [("volumes.create", "ok"), ("images.add", "ok")]
        assert ear.operations[1].written == 6
        store.volumes.delete("volume-1")
        store.images.delete(store.images.uri("image-1"))


def test_the_services_are_what_they_were(store):
    assert isinstance(store.volumes, volumes.VolumeStore)
    assert type(store.volumes).__qualname__ == "VolumeStore"
    assert type(store.images).add.__doc__ == images.ImageStore.add.__doc__
    assert inspect.signature(type(store.images).add) == inspect.signature(images.ImageStore.add)


def test_backends_have_their_names_from_the_configuration(tmp_path, ear):
    path = tmp_path / "rbdstore.conf"
    path.write_text(
        "[rbdstore]\nenabled_backends = fast:file\n"
        f"[fast]\nrbd_pool = volumes\nfile_store_datadir = {tmp_path / 'data'}\n"
    )
    with rbdstore.load(str(path)) as opened:
        opened.volumes.stats()
    assert ear.operations[0].backend == "fast"


def test_an_observer_that_fails_is_told_no_more(store, ear, caplog):
    """Nothing that is done fails because of it."""

    class Broken(Ear):
        def ended(self, operation):
            super().ended(operation)
            raise OSError("no space left")

    broken = Broken()
    observing.add(broken)
    store.volumes.create("volume-1", MiB)
    store.volumes.delete("volume-1")
    assert broken.told == [("volumes.create", "ok")]
    assert ear.told == [("volumes.create", "ok"), ("volumes.delete", "ok")]
    assert "no space left" in caplog.text


def test_a_child_has_operations_of_its_own(store):
    """One that was forked in the middle of an operation."""

    def body():
        yield b"data"
        child = os.fork()
        if child == 0:
            ear = Ear()
            observing.add(ear)
            store.images.place("image-1")
            with observing.operation("test", "child"):
                pass
            store.images.exists("rbd://image-1")
            expected = [("test", "ok"), ("images.exists", "ok")]
            os._exit(0 if ear.told == expected else 1)
        assert os.waitpid(child, 0)[1] == 0

    store.images.delete(store.images.add("image-1", body()).uri)
