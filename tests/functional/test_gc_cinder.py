# SPDX-License-Identifier: Apache-2.0
"""What Cinder's own driver leaves of deleted clones is reclaimed, all of it, and nothing else.

Cinder is not among the tests' requirements, for it is large: ``tox -e e2e`` has it.
"""

import importlib.util
from pathlib import Path

import cinder_process
import pytest
import samples
import stores

MiB = samples.MiB
DATA = samples.pattern("cinder", MiB)


@pytest.fixture(scope="module", autouse=True)
def _cinder():
    assert importlib.util.find_spec("cinder"), "there is no Cinder here; `tox -e e2e` has it"


@pytest.fixture(params=[1, 2], ids=["format 1", "format 2"])
def cinder(request, sandbox, tmp_path):
    """Cinder's driver, on a cluster whose clients make clones of that format."""
    conf = tmp_path / "ceph.conf"
    text = Path(sandbox.conf_path).read_text()
    conf.write_text(f"{text}\n[client]\nrbd default clone format = {request.param}\n")
    with cinder_process.Cinder(str(conf)) as running:
        yield running


@pytest.fixture
def store(sandbox):
    return stores.store(sandbox, "admin", "volumes")


def make_and_delete(cinder, turn):
    """Nine volumes: clones, a chain of them, one from a snapshot; and none of them any more."""
    source, snapshot, derived = f"{turn}-source", f"{turn}-snapshot", f"{turn}-derived"
    cinder.ask("create_volume", source)
    cinder.ask("create_snapshot", snapshot, source)
    cinder.ask("create_volume_from_snapshot", derived, snapshot)
    chain = [f"{turn}-{number}" for number in range(7)]
    for below, new in zip([source, *chain], chain, strict=False):
        cinder.ask("create_cloned_volume", new, below)
    for key in (*reversed(chain), derived):
        cinder.ask("delete_volume", key)
    cinder.ask("delete_snapshot", snapshot)
    cinder.ask("delete_volume", source)


def reclaim(store):
    """Reclaim all that there is; the names of the images that went."""
    told = store.gc()
    assert told.findings
    assert all(each.outcome == "reclaimable" for each in told.findings)
    assert all(each.reason for each in told.findings)
    done = store.gc(apply=True)
    assert {each.item for each in told.findings} <= {each.item for each in done.reclaimed}
    assert not done.left
    assert store.gc().findings == ()
    return {each.item.removeprefix("volumes/") for each in told.findings if each.kind == "deleted"}


def test_what_it_leaks(cinder, store, raw):
    make_and_delete(cinder, "doomed")
    leaked = raw.images("volumes")
    assert leaked
    assert all(name.endswith(".deleted") for name in leaked)
    print(f"{len(leaked)} of 9 deleted volumes were left")
    # In one go, whole chains of them.
    assert reclaim(store) == set(leaked)


def test_nothing_else_in_a_pool_of_others(cinder, store, raw):
    # Live ones: with a snapshot, in a chain below a deleted volume, flattened since.
    cinder.ask("create_volume", "live")
    raw.write("volumes", cinder.ask("name", "live"), DATA)
    cinder.ask("create_snapshot", "snapshot", "live")
    for new, source in (("kept", "live"), ("clone", "kept"), ("flat", "live"), ("last", "flat")):
        cinder.ask("create_cloned_volume", new, source)
    cinder.ask("delete_volume", "kept")
    raw.flatten("volumes", cinder.ask("name", "flat"))
    # Those of others, some with names that look like Cinder's.
    for name in ("photos", "photos.deleted", "photos.partial"):
        raw.create("volumes", name, data=DATA)
    raw.snap("volumes", "photos", "before")
    raw.snap("volumes", "photos", "photos.clone_snap", protect=False)
    raw.create("volumes", "volume-of-mine.deleted", data=DATA)
    before = raw.state()

    make_and_delete(cinder, "doomed")
    leaked = set(raw.images("volumes")) - {key[1] for key in before if key[0] == "volumes"}
    safe = {
        each.item.removeprefix("volumes/"): each for each in store.gc().findings if each.is_safe
    }
    flattened = f"{cinder.ask('name', 'live')}@{cinder.ask('name', 'flat')}.clone_snap"
    # Of what was left so, the snapshot that the flattened one was cloned from is the only one
    # that Cinder has not deleted.
    assert set(safe) == {*leaked, flattened}
    done = store.gc(apply=True)
    assert {each.item.removeprefix("volumes/") for each in done.reclaimed} == set(safe)
    assert all(each.reason for each in done.left)
    kept = f"volumes/{cinder.ask('name', 'kept')}.deleted"
    assert "was cloned from it" in next(each.reason for each in done.left if each.item == kept)

    after = raw.state()
    live = ("volumes", cinder.ask("name", "live"))
    image_id, size, snaps, parent = before[live]
    snaps = [snap for snap in snaps if snap[1] != flattened.partition("@")[2]]
    assert after == before | {live: (image_id, size, snaps, parent)}
    for key, snap in (("live", "snapshot"), *((key, "") for key in ("live", "clone", "last"))):
        with raw.open("volumes", cinder.ask("name", key), read_only=True) as image:
            if snap:
                image.set_snap(cinder.ask("name", snap))
            assert image.read(0, MiB) == DATA

    # Once Cinder has deleted all of them, its leavings go as well.
    for key in ("last", "flat", "clone"):
        cinder.ask("delete_volume", key)
    cinder.ask("delete_snapshot", "snapshot")
    cinder.ask("delete_volume", "live")
    for name in ("photos", "photos.deleted", "photos.partial", "volume-of-mine.deleted"):
        raw.remove("volumes", name)
    store.gc(apply=True)
