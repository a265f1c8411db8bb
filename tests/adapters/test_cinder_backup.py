# SPDX-License-Identifier: Apache-2.0
"""Cinder's backup driver, in one process with Cinder's own classes, and on a real Ceph.

``tests/e2e`` has the service itself.
"""

import contextlib
import inspect
import io
import json
import uuid

import cinder_place
import pools
import pytest
import samples
import stores
from cinder import exception, objects, rpc
from cinder.backup import manager
from cinder.backup.drivers import ceph as stock
from cinder.db import api, models
from cinder.interface import backup_driver, util
from cinder.volume import volume_utils
from os_brick.initiator import linuxrbd
from oslo_utils import units

from rbdstore import exceptions
from rbdstore.adapters import cinder_backup
from rbdstore.adapters.cinder import errors

GiB = units.Gi
CONTEXT = cinder_place.CONTEXT
DATA = samples.pattern("volume", samples.MiB)
OURS = "rbdstore.adapters.cinder_backup.RBDBackupDriver"
STOCK = "cinder.backup.drivers.ceph.CephBackupDriver"


@pytest.fixture(autouse=True)
def _on_ceph(request):
    if request.config.getoption("driver") != "rbd":
        pytest.skip("the volumes and backups are in Ceph only: --driver rbd")


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('cinder') / 'cinder.sqlite'}"


@pytest.fixture
def configure(ceph, tmp_path, database):
    """Read a cinder.conf, with other options than those that all tests have."""

    def configured(**more):
        options = {
            "backup_ceph_conf": ceph.conf_path,
            "backup_ceph_user": "cinder-backup",
            "backup_ceph_pool": "backups",
            "transport_url": "fake://",
        }
        sections = {"DEFAULT": options | more, "database": {"connection": database}}
        cinder_place.configure(tmp_path, sections)
        if not rpc.initialized():
            rpc.init(cinder_place.CONF)
        models.BASE.metadata.create_all(api.get_engine())
        with contextlib.suppress(exception.VolumeTypeExists):
            api.volume_type_create(CONTEXT, {"name": "__DEFAULT__"})

    yield configured
    if rpc.initialized():
        rpc.cleanup()


@pytest.fixture
def driver(configure):
    configure()
    made = cinder_backup.RBDBackupDriver(CONTEXT)
    made.check_for_setup_error()
    return made


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


def new_volume(**fields):
    """A volume in Cinder's database."""
    made = objects.Volume(
        CONTEXT, size=1, host=cinder_place.HOST, status="backing-up", use_quota=True, **fields
    )
    made.create()
    return made


def new_backup(volume, driver=OURS, **fields):
    made = objects.Backup(
        CONTEXT,
        volume_id=volume.id,
        user_id="user",
        project_id="project",
        status="creating",
        size=1,
        service=driver,
        **fields,
    )
    made.create()
    return made


def finish(backup, updates):
    """What the service does with a driver's answer."""
    backup.update(updates)
    backup.save()
    return backup


@pytest.fixture
def volumes(ceph):
    """The library's own store, of what a volume driver serves."""
    return stores.volume_store(ceph)


@pytest.fixture
def volume(driver, volumes, raw):
    """A volume that begins with DATA."""
    made = new_volume(display_name="a name")
    volumes.create(made.name, GiB)
    raw.write("volumes", made.name, DATA)
    yield made
    volumes.delete(made.name)


@pytest.fixture
def target(driver, volumes):
    """An empty volume, to be restored to."""
    made = new_volume(display_name="restore_backup_1")
    volumes.create(made.name, GiB)
    yield made
    volumes.delete(made.name)


@pytest.fixture
def attached(ceph):
    """Open volumes as os-brick does for the service, which closes them."""

    @contextlib.contextmanager
    def opened(volume):
        client = linuxrbd.RBDClient("cinder", "volumes", conffile=ceph.conf_path)
        image = linuxrbd.RBDVolume(client, volume.name)
        metadata = linuxrbd.RBDImageMetadata(image, "volumes", "cinder", ceph.conf_path)
        with linuxrbd.RBDVolumeIOWrapper(metadata) as file:
            yield file

    return opened


@pytest.fixture
def back_up(driver, attached):
    """Back up a volume as the service does; return what its database has of the backup then."""

    def done(volume, *, of=None, by=driver, **fields):
        backup = new_backup(volume, **fields)
        with attached(of or volume) as file:
            return finish(backup, by.backup(backup, file))

    return done


def restore(driver, attached, backup, target, *, is_new=True):
    with attached(target) as file:
        driver.restore(backup, target.id, file, is_new)


def begins(raw, volume):
    with raw.open("volumes", volume.name, read_only=True) as image:
        return image.read(0, len(DATA))


# The interface


def test_it_is_a_driver():
    assert issubclass(cinder_backup.RBDBackupDriver, backup_driver.BackupDriver)
    assert cinder_backup.RBDBackupDriver in [info.cls for info in util.get_backup_drivers()]


@pytest.mark.parametrize(
    "name", ["backup", "restore", "delete_backup", "check_for_setup_error", "export_record"]
)
def test_methods_take_what_the_stock_driver_s_take(name):
    ours = inspect.signature(getattr(cinder_backup.RBDBackupDriver, name))
    theirs = inspect.signature(getattr(stock.CephBackupDriver, name))
    assert list(ours.parameters) == list(theirs.parameters)


def test_options_are_the_stock_driver_s():
    found = cinder_backup.RBDBackupDriver.get_driver_options()
    assert found == stock.CephBackupDriver.get_driver_options()


def test_every_error_has_a_counterpart():
    kinds = [
        kind
        for kind in vars(exceptions).values()
        if inspect.isclass(kind) and issubclass(kind, exceptions.RbdStoreError)
    ]
    for kind in kinds:
        found = errors.of_cinder(kind("the text"), cinder_backup.TABLE)
        assert isinstance(found, exception.CinderException)
        assert "the text" in str(found)


@pytest.mark.parametrize("made_by", [OURS, STOCK])
def test_the_service_lets_it_have_its_own_backups_and_the_stock_driver_s(configure, made_by):
    configure(backup_driver=OURS)
    service = manager.BackupManager()
    # As when it starts.
    assert isinstance(service.service(CONTEXT), cinder_backup.RBDBackupDriver)
    assert service._is_our_backup(made_by)
    assert not service._is_our_backup("cinder.backup.drivers.nfs.NFSBackupDriver")


# Setup


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("backup_ceph_user", ""),
        ("backup_ceph_pool", ""),
        ("backup_ceph_stripe_count", 2),
        ("backup_ceph_image_journals", True),
    ],
)
def test_options_that_cannot_be(configure, option, value):
    configure(**{option: value})
    with pytest.raises(exception.InvalidConfigurationValue, match=option):
        cinder_backup.RBDBackupDriver(CONTEXT).check_for_setup_error()


def test_a_pool_that_is_not_there(configure):
    configure(backup_ceph_pool="nowhere")
    with pytest.raises(exception.BackupDriverException, match="nowhere"):
        cinder_backup.RBDBackupDriver(CONTEXT).check_for_setup_error()


# Volumes of Ceph


def test_full_and_incremental(driver, raw, volume, target, back_up, attached):
    full = back_up(volume)
    assert json.loads(full.service_metadata) == {"base": f"{volume.name}.backup.{full.id}"}
    assert full.container == "backups"
    raw.write("volumes", volume.name, b"later")
    changed = back_up(volume, parent_id=full.id)
    assert changed.service_metadata == full.service_metadata
    restore(driver, attached, changed, target)
    assert begins(raw, target) == b"later" + DATA[5:]
    restore(driver, attached, full, target, is_new=False)
    assert begins(raw, target) == DATA
    # To where it came from, which has been written to meanwhile.
    raw.write("volumes", volume.name, b"LATEST")
    restore(driver, attached, changed, volume, is_new=False)
    assert begins(raw, volume) == b"later" + DATA[5:]
    for backup in (changed, full, full):
        driver.delete_backup(backup)
    assert raw.images("backups") == []


def test_a_full_one_is_made_where_none_is_given_to_begin_at(volume, back_up, driver, raw):
    backups = [back_up(volume) for _ in range(2)]
    assert len(raw.images("backups")) == 2
    for backup in backups:
        driver.delete_backup(backup)


def test_what_cinder_knows_of_a_volume_comes_back(driver, volume, target, back_up, attached):
    backup = back_up(volume)
    restore(driver, attached, backup, target)
    assert objects.Volume.get_by_id(CONTEXT, target.id).display_name == "a name"
    driver.delete_backup(backup)


def test_a_snapshot(driver, volumes, raw, volume, target, back_up, attached):
    snapshot = objects.Snapshot(
        CONTEXT, volume_id=volume.id, volume_size=1, user_id="user", project_id="project"
    )
    snapshot.create()
    volumes.create_snapshot(volume.name, snapshot.name)
    raw.write("volumes", volume.name, b"later")
    # The copy that Cinder's volume drivers make of it.
    copy = new_volume()
    volumes.create_from_snapshot(copy.name, volume.name, snapshot.name)
    backup = back_up(volume, of=copy, snapshot_id=snapshot.id)
    volumes.delete(copy.name)
    restore(driver, attached, backup, target)
    assert begins(raw, target) == DATA
    driver.delete_backup(backup)
    volumes.delete_snapshot(volume.name, snapshot.name)


def test_in_a_container_of_the_user_s(driver, raw, volume, target, back_up, attached, configure):
    """A pool, whatever the options say when it is restored or deleted."""
    configure(backup_ceph_user="admin")
    backup = back_up(volume, container="vms")
    assert raw.images("backups") == []
    assert raw.images("vms") == [f"{volume.name}.backup.{backup.id}"]
    restore(driver, attached, backup, target)
    assert begins(raw, target) == DATA
    driver.delete_backup(backup)


def test_how_many_snapshots_stay(driver, raw, volume, back_up, configure):
    configure(backup_ceph_max_snapshots=1)
    backups = [back_up(volume) for _ in range(4)]
    assert len(raw.snaps("volumes", volume.name)) == 1
    for backup in backups:
        driver.delete_backup(backup)


def test_nothing_is_left_of_one_that_fails(driver, raw, volume, back_up, monkeypatch):
    def fails(volume_id):
        raise exception.VolumeNotFound(volume_id=volume_id)

    monkeypatch.setattr(driver, "get_metadata", fails)
    with pytest.raises(exception.VolumeNotFound):
        back_up(volume)
    assert raw.images("backups") == raw.snaps("volumes", volume.name) == []


def test_a_volume_that_an_instance_writes_to_is_not_restored(
    driver, ceph, volume, target, back_up, attached
):
    backup = back_up(volume)
    with (
        stores.held_open(ceph, "volumes", target.name),
        pytest.raises(exception.VolumeIsBusy),
    ):
        restore(driver, attached, backup, target)
    driver.delete_backup(backup)


# Others


def test_a_volume_that_is_not_in_ceph(driver, raw, volume, target, attached, tmp_path):
    device = tmp_path / "device"
    device.write_bytes(DATA + bytes(9 * samples.MiB))
    elsewhere = new_volume(display_name="elsewhere")
    backup = new_backup(elsewhere)
    with device.open("rb") as file:
        finish(backup, driver.backup(backup, file))
    other = tmp_path / "other"
    other.write_bytes(b"old" * 5 * samples.MiB)
    with other.open("r+b") as file:
        driver.restore(backup, target.id, file, False)
    assert other.read_bytes() == device.read_bytes() + bytes(5 * samples.MiB)
    # And to Ceph, and from Ceph to it.
    restore(driver, attached, backup, target)
    assert begins(raw, target) == DATA
    driver.delete_backup(backup)


def test_increments_of_a_volume_that_is_not_in_ceph(driver):
    elsewhere = new_volume()
    backup = new_backup(elsewhere, parent_id=str(uuid.uuid4()))
    with pytest.raises(exception.InvalidBackup, match="full backups only"):
        driver.backup(backup, io.BytesIO(DATA))


# Both drivers


@pytest.fixture
def stock_driver(configure, ceph, monkeypatch):
    configure(backup_driver=STOCK)
    # The commands that it starts.
    for name, value in ceph.env().items():
        monkeypatch.setenv(name, value)
    made = stock.CephBackupDriver(CONTEXT)
    made.check_for_setup_error()
    return made


def test_what_the_stock_driver_has_backed_up(
    driver, stock_driver, raw, volume, target, back_up, attached
):
    full = back_up(volume, by=stock_driver, driver=STOCK)
    raw.write("volumes", volume.name, b"later")
    changed = back_up(volume, by=stock_driver, driver=STOCK, parent_id=full.id)
    for backup, data in ((changed, b"later" + DATA[5:]), (full, DATA)):
        restore(driver, attached, backup, target, is_new=False)
        assert begins(raw, target) == data
    assert objects.Volume.get_by_id(CONTEXT, target.id).display_name == "a name"
    # Nothing is an increment of one of those.
    ours = back_up(volume, parent_id=changed.id)
    assert json.loads(ours.service_metadata) != json.loads(full.service_metadata)
    for backup in (full, changed, ours):
        driver.delete_backup(backup)
    assert raw.images("backups") == []
    for snap in raw.snaps("volumes", volume.name):
        raw.remove_snap("volumes", volume.name, snap)


def test_a_snapshot_that_the_stock_driver_could_not_back_up(driver, raw, volume):
    """It copies each one of a volume to the same image, so the second fails: that is not in it."""
    base = f"{volume.name}.backup.base"
    raw.create("backups", base, data=DATA)
    first, second = (
        new_backup(volume, driver=STOCK, snapshot_id=str(uuid.uuid4())) for _ in range(2)
    )
    with raw.ioctx("backups") as ioctx:
        ioctx.write_full(f"backup.{first.id}.meta", b"{}")
    driver.delete_backup(second)
    assert raw.images("backups") == [base]
    driver.delete_backup(first)
    # With what was kept of the volume.
    assert f"backup.{first.id}.meta" not in raw.objects("backups")
    assert raw.images("backups") == []
    driver.delete_backup(first)


def test_what_this_one_has_backed_up_is_given_to_the_stock_driver(
    driver, stock_driver, raw, volume, target, back_up, attached
):
    full = back_up(volume)
    raw.write("volumes", volume.name, b"later")
    changed = back_up(volume, parent_id=full.id)
    for backup, data in ((full, DATA), (changed, b"later" + DATA[5:])):
        restore(stock_driver, attached, backup, target, is_new=True)
        assert begins(raw, target) == data
    for backup in (changed, full):
        driver.delete_backup(backup)


# Progress


def test_who_listens_is_told_that_it_is_all_there(driver, volume, back_up, monkeypatch):
    told = []
    monkeypatch.setattr(
        volume_utils,
        "notify_about_backup_usage",
        lambda context, backup, event, extra_usage_info=None: told.append(
            (event, extra_usage_info)
        ),
    )
    backup = back_up(volume)
    assert told[-1] == ("createprogress", {"backup_percent": 100.0})
    driver.delete_backup(backup)
