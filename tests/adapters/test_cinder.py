# SPDX-License-Identifier: Apache-2.0
"""Cinder's driver, in one process with Cinder's own classes and on a real Ceph.

What needs Cinder's database or Glance is in ``tests/e2e``.
"""

import contextlib
import inspect
import subprocess
import sys

import cinder_place
import pools
import pytest
import samples
import stores
from cinder import exception
from cinder.interface import util, volume_driver
from cinder.volume import driver as base
from cinder.volume.drivers import rbd as stock
from oslo_utils import units

from rbdstore import exceptions
from rbdstore.adapters import cinder
from rbdstore.adapters.cinder import errors, volume_types
from rbdstore.spec import ImageSpec
from rbdstore.volumes import VolumeStore

GiB = units.Gi
DATA = samples.pattern("volume", samples.MiB)


@pytest.fixture(autouse=True)
def _on_ceph(request):
    if request.config.getoption("driver") != "rbd":
        pytest.skip("Cinder's volumes are in Ceph only: --driver rbd")


@pytest.fixture
def section(ceph):
    """What cinder.conf has for either driver."""
    return {
        "rbd_ceph_conf": ceph.conf_path,
        "rbd_user": "cinder",
        "rbd_pool": "volumes",
        "rados_connection_retries": 1,
        "rbd_destroy_volume_retries": 1,
        "rbd_destroy_volume_retry_interval": 1,
        "volume_backend_name": "ceph",
    }


@pytest.fixture
def make(tmp_path, section):
    """Make drivers, which are let go of in the end."""
    with contextlib.ExitStack() as stack:

        def made(defaults=None, **more):
            cinder_place.configure(
                tmp_path, {"backend_defaults": defaults or {}, "ceph": section | more}
            )
            found = cinder_place.load(cinder.RBDDriver, "ceph")
            found.do_setup(cinder_place.CONTEXT)
            stack.callback(found._temporary.close)
            stack.callback(found._store.close)
            return found

        yield made


@pytest.fixture
def driver(make):
    found = make()
    found.check_for_setup_error()
    return found


@pytest.fixture
def raw(ceph):
    """A client that knows nothing of this library; nothing may be left in the end."""
    with stores.foreign(ceph) as client:
        yield client
        try:
            pools.assert_empty(client.client)
        finally:
            # So that one failure is one failure.
            for pool in client.client.list_pools():
                pools.clear(client.client, pool)


@pytest.fixture
def volume(driver, raw):
    """A volume that begins with DATA."""
    made = cinder_place.volume()
    assert driver.create_volume(made) == {}
    raw.write("volumes", made.name, DATA)
    yield made
    driver.delete_volume(made)


def begins(raw, volume, pool="volumes"):
    with raw.open(pool, volume.name, read_only=True) as image:
        return image.read(0, len(DATA))


def size(raw, volume, pool="volumes"):
    return raw.size(pool, volume.name)


# The interface


def test_it_is_a_driver():
    assert issubclass(cinder.RBDDriver, volume_driver.VolumeDriverCore)
    assert cinder.RBDDriver in [info.cls for info in util.get_volume_drivers()]
    for kind in (base.CloneableImageVD, base.MigrateVD, base.ManageableVD):
        assert issubclass(cinder.RBDDriver, kind)
    assert cinder.RBDDriver.SUPPORTS_ACTIVE_ACTIVE


_COMPLIANCE = """
import unittest
import cinder.tests.unit
import rbdstore.adapters.cinder
from cinder.tests.compliance import test_volume_drivers

names = [info.class_fqn for info in test_volume_drivers.VOLUME_DRIVERS]
assert "rbdstore.adapters.cinder.RBDDriver" in names, names
unittest.main(test_volume_drivers)
"""


def test_cinder_s_own_check_of_drivers():
    # In a process of its own, which Cinder's tests have eventlet patch.
    subprocess.run([sys.executable, "-W", "ignore", "-c", _COMPLIANCE], check=True, timeout=120)


# What only the stock driver's own code calls, and what makes replicas.
_INNER = {"RBDProxy", "get_rbd_image_qos", "update_rbd_image_qos", "delete_rbd_image_qos_keys"}
_REPLICATION = {"failover", "failover_completed", "failover_host"}


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, _method in inspect.getmembers(stock.RBDDriver, inspect.isfunction)
        if not name.startswith("_") and name not in _INNER | _REPLICATION
    ],
)
def test_it_takes_what_the_stock_driver_takes(name):
    theirs = getattr(stock.RBDDriver, name)
    ours = getattr(cinder.RBDDriver, name)
    assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters)


def test_its_options_are_the_stock_driver_s_own():
    options = cinder.RBDDriver.get_driver_options()
    assert all(any(opt is other for other in options) for opt in stock.RBD_OPTS)
    assert len({opt.dest for opt in options}) == len(options)
    assert {"rbd_clone_format", "replication_device"} < {opt.dest for opt in options}


def test_every_error_of_the_library_is_one_of_cinder_s():
    waiting = [exceptions.RbdStoreError]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        found = errors.of_cinder(kind("why not"))
        assert isinstance(found, exception.CinderException)
        assert "why not" in str(found)
    assert isinstance(errors.of_cinder(exceptions.InUse()), exception.VolumeIsBusy)
    assert isinstance(errors.of_cinder(exceptions.BrokenImage("x")), exception.ImageUnacceptable)


def test_limits_have_ceph_s_names():
    theirs = {name: found["ceph_key"] for name, found in stock.QOS_KEY_MAP.items()}
    ours = {name: f"rbd_qos_{limit}" for name, limit in volume_types.LIMITS.items()}
    # There the burst of operations is written where that of bytes belongs.
    assert theirs.pop("total_iops_sec_max") == "rbd_qos_bps_burst"
    assert ours.pop("total_iops_sec_max") == "rbd_qos_iops_burst"
    assert ours == theirs


_PATCHED = """
import eventlet
eventlet.monkey_patch()
from eventlet import patcher
from rbdstore.adapters.cinder import native

ticks = []

def tick():
    while True:
        ticks.append(None)
        eventlet.sleep(0.01)

eventlet.spawn(tick)
native.call(patcher.original("time").sleep, 1)
assert len(ticks) > 5, len(ticks)
"""


def test_a_patched_service_is_not_stopped():
    subprocess.run([sys.executable, "-W", "ignore", "-c", _PATCHED], check=True, timeout=120)


# Being set up


def test_options_of_all_backends_hold(make):
    found = make(
        {"rbd_max_clone_depth": 7, "rbd_clone_format": "1"}, rbd_concurrent_flatten_operations=0
    )
    settings = found._store._settings
    assert settings.max_clone_depth == 7
    assert settings.concurrent_flatten_operations > 1000
    assert found._store._cluster.clone_format == 1


def test_replication_is_refused(make):
    with pytest.raises(exception.InvalidConfigurationValue, match="replicate"):
        make(replication_device="backend_id:other,conf:/etc/ceph/other.conf")


def test_no_pool_and_no_cluster(make, tmp_path, section):
    found = make(rbd_pool="missing")
    with pytest.raises(exception.VolumeBackendAPIException, match="missing"):
        found.check_for_setup_error()
    found = make(rbd_user="nobody")
    with pytest.raises(exception.InvalidConfigurationValue, match="nobody"):
        found.check_for_setup_error()
    stats = found.get_volume_stats(True)
    assert (stats["backend_state"], stats["free_capacity_gb"]) == ("down", "unknown")


def test_stats_have_what_the_stock_driver_s_have(driver, make, tmp_path, section):
    ours = driver.get_volume_stats(True)
    other = cinder_place.load(stock.RBDDriver, "ceph")
    other.do_setup(cinder_place.CONTEXT)
    theirs = other.get_volume_stats(True)
    assert ours.keys() == theirs.keys()
    same = ours.keys() - {"driver_version", "free_capacity_gb", "total_capacity_gb"}
    assert {key: ours[key] for key in same} == {key: theirs[key] for key in same}
    for key in ("free_capacity_gb", "total_capacity_gb"):
        assert ours[key] == pytest.approx(theirs[key], abs=0.1)


def test_stats_of_a_shared_pool(make, raw):
    found = make(rbd_exclusive_cinder_pool=False)
    raw.create("volumes", "other", 5 * GiB // 2)
    assert found.get_volume_stats(True)["provisioned_capacity_gb"] == 3
    raw.remove("volumes", "other")


# Volumes and snapshots


def test_the_life_of_a_volume(driver, volume, raw):
    assert size(raw, volume) == GiB
    snap = cinder_place.snapshot(volume)
    driver.create_snapshot(snap)
    assert raw.is_protected("volumes", volume.name, snap.name)
    with pytest.raises(exception.VolumeIsBusy, match=snap.name):
        driver.delete_volume(volume)
    copy, larger = cinder_place.volume(), cinder_place.volume(2)
    driver.create_volume_from_snapshot(copy, snap)
    driver.create_cloned_volume(larger, copy)
    assert (size(raw, copy), size(raw, larger)) == (GiB, 2 * GiB)
    assert begins(raw, larger) == DATA
    raw.write("volumes", volume.name, b"later")
    driver.revert_to_snapshot(cinder_place.CONTEXT, volume, snap)
    assert begins(raw, volume) == DATA
    driver.extend_volume(larger, 3)
    assert size(raw, larger) == 3 * GiB
    for _ in range(2):
        driver.delete_snapshot(snap)
        driver.delete_volume(copy)
        driver.delete_volume(larger)


def test_a_volume_that_somebody_has_open_is_busy(driver, volume, ceph):
    with stores.held_open(ceph, "volumes", volume.name), pytest.raises(exception.VolumeIsBusy):
        driver.delete_volume(volume)


def test_a_volume_of_a_client_that_crashed_is_deleted(make, volume, ceph):
    """Its watch ends before the driver gives up."""
    with stores.held_open(ceph, "volumes", volume.name) as process:
        process.kill()
    make(rbd_destroy_volume_retries=60).delete_volume(volume)


def test_what_cinder_makes_for_itself_is_not_flattened(make, driver, volume, raw):
    found = make(rbd_max_clone_depth=1, rbd_flatten_volume_from_snapshot=True)
    snap = cinder_place.snapshot(volume)
    found.create_snapshot(snap)
    clone = cinder_place.volume()
    found.create_cloned_volume(clone, volume)
    temporary = [cinder_place.volume(use_quota=False) for _ in range(2)]
    found.create_cloned_volume(temporary[0], clone)
    found.create_volume_from_snapshot(temporary[1], snap)
    assert raw.parent("volumes", temporary[0].name)[1] == clone.name
    assert raw.parent("volumes", temporary[1].name)[1] == volume.name
    assert raw.parent("volumes", clone.name)[1] == volume.name
    others = [cinder_place.volume() for _ in range(2)]
    found.create_cloned_volume(others[0], clone)
    found.create_volume_from_snapshot(others[1], snap)
    assert raw.parent("volumes", others[1].name) is None
    for made in (*temporary, *others, clone):
        found.delete_volume(made)
    found.delete_snapshot(snap)


def test_deletion_is_deferred_where_that_is_configured(make, raw):
    """But not of what Cinder has made for itself."""
    found = make(enable_deferred_deletion=True, deferred_deletion_delay=3600)
    kept, temporary = cinder_place.volume(), cinder_place.volume(use_quota=False)
    for made in (kept, temporary):
        found.create_volume(made)
        found.delete_volume(made)
    assert list(raw.trash("volumes").values()) == [kept.name]
    make(enable_deferred_deletion=False)._store.purge_deleted()
    assert list(raw.trash("volumes").values()) == [kept.name]
    pools.clear(raw.client, "volumes")


def test_an_encrypted_volume_keeps_room_for_its_header(driver, raw):
    """As the stock driver makes one: by its header larger than Cinder says."""
    source = cinder_place.volume(encryption_key_id="key")
    raw.create("volumes", source.name, GiB + 2 * samples.MiB)
    same, larger = (cinder_place.volume(number, encryption_key_id="key") for number in (1, 3))
    for made in (same, larger):
        driver.create_cloned_volume(made, source)
    assert size(raw, same) == GiB + 2 * samples.MiB
    assert size(raw, larger) == 3 * GiB + 2 * samples.MiB
    for made in (source, same, larger):
        driver.delete_volume(made)


def test_what_is_not_built_is_refused(driver, raw):
    with pytest.raises(exception.NotSupportedOperation, match="encrypted"):
        driver.create_volume(cinder_place.volume(encryption_key_id="key"))
    with pytest.raises(exception.NotSupportedOperation, match="encrypted"):
        driver.copy_image_to_encrypted_volume(
            cinder_place.CONTEXT, cinder_place.volume(encryption_key_id="key"), None, "image"
        )
    replicated = cinder_place.volume_type(replication_enabled=True)
    with pytest.raises(exception.NotSupportedOperation, match="replicate"):
        driver.create_volume(cinder_place.volume(of_type=replicated))
    assert raw.images("volumes") == []


# Attaching


def test_a_connection_is_what_the_stock_driver_s_is(driver, volume):
    ours = driver.initialize_connection(volume, {})
    assert ours["driver_volume_type"] == "rbd"
    assert ours["data"].keys() == {
        *("name", "hosts", "ports", "cluster_name", "auth_enabled", "auth_username"),
        *("secret_type", "secret_uuid", "volume_id", "discard"),
    }
    assert ours["data"]["name"] == f"volumes/{volume.name}"
    assert ours["data"]["volume_id"] == volume.id
    assert ours["data"]["secret_uuid"] == driver._store.fsid
    driver.terminate_connection(volume, {})


def test_several_hosts_may_write(driver, volume, raw):
    locked = {"exclusive-lock", "object-map", "fast-diff"}
    several = cinder_place.volume_type(multiattach=True)
    made = cinder_place.volume(of_type=several)
    update = driver.create_volume(made)
    assert cinder_place.saved(update) == 4 + 8 + 16
    assert not locked & raw.features("volumes", made.name)
    context, plain = cinder_place.CONTEXT, cinder_place.volume_type()
    made.provider_location = update["provider_location"]
    assert driver.retype(context, made, plain, {}, None) == (True, {"provider_location": None})
    assert locked < raw.features("volumes", made.name)
    assert driver.retype(context, volume, several, {}, None) == (True, update)
    assert not locked & raw.features("volumes", volume.name)
    driver.delete_volume(made)


# Taking over


def test_volumes_are_taken_over(driver, volume, raw):
    raw.create("volumes", "theirs", 3 * GiB // 2)
    found = {
        entry["reference"]["source-name"]: entry
        for entry in driver.get_manageable_volumes([volume], None, 10, 0, ["reference"], ["asc"])
    }
    assert found["theirs"] == {
        "reference": {"source-name": "theirs"},
        "size": 2,
        "cinder_id": None,
        "extra_info": None,
        "safe_to_manage": True,
        "reason_not_safe": None,
    }
    assert found[volume.name]["cinder_id"] == volume.id
    assert found[volume.name]["reason_not_safe"] == "already managed"
    made = cinder_place.volume(2)
    reference = {"source-name": "theirs"}
    assert driver.manage_existing_get_size(made, reference) == 2
    assert driver.manage_existing(made, reference) == {}
    assert raw.images("volumes") == sorted([made.name, volume.name])
    for wrong in (reference, {}):
        with pytest.raises(exception.ManageExistingInvalidReference):
            driver.manage_existing_get_size(made, wrong)
    driver.unmanage(made)
    driver.delete_volume(made)


def test_what_cannot_be_made_what_its_type_says_keeps_its_name(driver, raw, monkeypatch):
    """Who deletes what could not be managed, as Cinder has him do, deletes nothing of theirs."""
    raw.create("volumes", "theirs", GiB)
    made = cinder_place.volume()
    with monkeypatch.context() as patched:
        patched.setattr(driver, "_apply_type", refused)
        with pytest.raises(exception.InvalidInput, match="no such limit"):
            driver.manage_existing(made, {"source-name": "theirs"})
    driver.delete_volume(made)
    assert raw.images("volumes") == ["theirs"]
    raw.remove("volumes", "theirs")


def refused(*_arguments, **_more):
    raise exception.InvalidInput("no such limit")


def test_the_first_error_is_told(driver, raw, monkeypatch):
    made = cinder_place.volume()
    with monkeypatch.context() as patched:
        patched.setattr(driver, "_apply_type", refused)
        patched.setattr(VolumeStore, "delete", fails)
        with pytest.raises(exception.InvalidInput, match="no such limit") as caught:
            driver.create_volume(made)
    assert "the monitors are silent" in "".join(caught.value.__notes__)
    assert raw.images("volumes") == [made.name]
    driver.delete_volume(made)


def fails(*_arguments, **_more):
    raise exceptions.Timeout("the monitors are silent")


def test_a_limit_that_is_no_number():
    with pytest.raises(exception.InvalidInput, match="total_iops_sec is a whole number, not 'x'"):
        volume_types._number("specs", "total_iops_sec", "x")


def test_snapshots_are_taken_over(driver, volume, raw):
    raw.snap("volumes", volume.name, "theirs", protect=False)
    clone = cinder_place.volume()
    driver.create_cloned_volume(clone, volume)

    def listed(managed):
        return {
            entry["reference"]["source-name"]: entry
            for entry in driver.get_manageable_snapshots(
                managed, None, 10, 0, ["reference"], ["asc"]
            )
        }

    theirs = listed([]).pop("theirs")
    assert theirs["safe_to_manage"]
    assert theirs["source_reference"] == {"source-name": volume.name}
    (others,) = (entry for name, entry in listed([]).items() if name != "theirs")
    assert others["reason_not_safe"] == "used for clone snap"
    snap = cinder_place.snapshot(volume)
    assert driver.manage_existing_snapshot_get_size(snap, "theirs") == 1
    driver.manage_existing_snapshot(snap, {"source-name": "theirs"})
    assert raw.is_protected("volumes", volume.name, snap.name)
    assert listed([snap])[snap.name]["cinder_id"] == snap.id
    with pytest.raises(exception.ManageExistingInvalidReference):
        driver.manage_existing_snapshot_get_size(snap, {"source-name": "theirs"})
    driver.unmanage_snapshot(snap)
    assert not raw.is_protected("volumes", volume.name, snap.name)
    driver.delete_snapshot(snap)
    driver.delete_volume(clone)


# Migrating


@pytest.fixture
def there(driver):
    """A host whose backend has the pool ``backups``."""
    info = driver.get_volume_stats(True)["location_info"].split(":")
    info[-2:] = ["admin", "backups"]
    return {"capabilities": {"storage_protocol": "ceph", "location_info": ":".join(info)}}


def test_a_volume_moves_to_another_pool(driver, raw, there):
    made = cinder_place.volume(of_type=cinder_place.volume_type(multiattach=True))
    driver.create_volume(made)
    raw.write("volumes", made.name, DATA)
    assert driver.migrate_volume(cinder_place.CONTEXT, made, there) == (True, None)
    assert raw.images("volumes") == []
    assert size(raw, made, "backups") == GiB
    assert begins(raw, made, "backups") == DATA
    assert "exclusive-lock" not in raw.features("backups", made.name)
    raw.remove("backups", made.name)


@pytest.mark.parametrize("what", ["_apply_type", "delete_volume"])
def test_a_volume_that_does_not_move_leaves_no_copy(driver, raw, there, monkeypatch, what):
    """It is in use here, or the copy cannot be made what its type says. It is moved later."""
    made = cinder_place.volume()
    driver.create_volume(made)

    def busy(*_arguments):
        raise exception.VolumeIsBusy(volume_name=made.name)

    with monkeypatch.context() as patched:
        patched.setattr(driver, what, busy if what == "delete_volume" else refused)
        with pytest.raises((exception.InvalidInput, exception.VolumeMigrationFailed)):
            driver.migrate_volume(cinder_place.CONTEXT, made, there)
    assert raw.images("backups") == []
    assert raw.images("volumes") == [made.name]
    assert driver.migrate_volume(cinder_place.CONTEXT, made, there) == (True, None)
    raw.remove("backups", made.name)


def test_a_volume_that_cinder_has_to_move(driver, volume, there):
    def moved(of=volume, **capabilities):
        host = {"capabilities": there["capabilities"] | capabilities}
        return driver.migrate_volume(cinder_place.CONTEXT, of, host)[0]

    info = there["capabilities"]["location_info"]
    assert not moved(storage_protocol="iSCSI")
    assert not moved(location_info="")
    assert not moved(location_info=info.replace(driver._store.fsid, "another"))
    volume.status = "in-use"
    assert not moved()
    assert moved(location_info=info.replace("backups", "volumes"))


def test_what_cinder_moved_gets_the_name_back(driver, raw):
    old, new = cinder_place.volume(), cinder_place.volume()
    driver.create_volume(new)
    context = cinder_place.CONTEXT
    update = driver.update_migrated_volume(context, old, new, "available")
    assert update == {"_name_id": None, "provider_location": None}
    assert raw.images("volumes") == [old.name]
    third = cinder_place.volume()
    driver.create_volume(third)
    for status in ("available", "in-use"):
        update = driver.update_migrated_volume(context, old, third, status)
        assert update == {"_name_id": third.id, "provider_location": None}
    # As Cinder knows it from then on: by its old id, under the other's name.
    moved = cinder_place.volume(_name_id=third.id)
    assert driver.initialize_connection(moved, {})["data"]["name"] == f"volumes/{third.name}"
    for made in (old, moved):
        driver.delete_volume(made)


# Images


def test_a_raw_image_is_cloned(driver, raw, ceph):
    images = stores.image_store(ceph)
    uri = images.add("image", DATA).uri
    made = cinder_place.volume(2)
    locations = ("http://elsewhere", [{"url": "http://elsewhere"}, {"url": uri}])
    image = {"id": "image", "disk_format": "raw"}
    context = cinder_place.CONTEXT
    assert driver.clone_image(context, made, locations, image, None) == ({}, True)
    assert driver._store.volumes.get(made.name).parent == ImageSpec("images", "image", "snap")
    assert (size(raw, made), begins(raw, made)) == (2 * GiB, DATA)
    other = cinder_place.volume()
    for not_this, found in (
        ({"disk_format": "qcow2"}, locations),
        ({"container_format": "compressed"}, locations),
        ({}, None),
        ({}, (None, None)),
        ({}, ("http://elsewhere", None)),
    ):
        assert driver.clone_image(context, other, found, image | not_this, None) == ({}, False)
    driver.delete_volume(made)
    images.delete(uri)
