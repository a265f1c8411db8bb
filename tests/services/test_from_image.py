# SPDX-License-Identifier: Apache-2.0
"""Volumes from images: which location is cloned, what is copied, and what is refused."""

import contextlib
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import containers
import places
import pytest
import samples
import wrong
from wrong import bodies, locations

from rbdstore import exceptions
from rbdstore.exchange.cloneable import Verdict
from rbdstore.spec import ImageSpec
from rbdstore.transfer import hashing
from rbdstore.volumes import VolumeFromImage

MiB = samples.MiB
SIZE = 12 * MiB
# A disk with data at both ends, and a hole.
DISK = samples.pattern("disk", 3 * MiB) + bytes(5 * MiB) + samples.pattern("end", MiB)


@pytest.fixture
def scratch(tmp_path):
    """The directory of conversions, in which nothing may be left."""
    made = tmp_path / "conversion"
    made.mkdir()
    yield made
    assert list(made.iterdir()) == []


@pytest.fixture
def volumes(place, scratch):
    return place.volumes(image_conversion_dir=str(scratch))


@pytest.fixture
def qemu_img(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    return containers.Watched(folder, monkeypatch)


def nobody():
    raise AssertionError("there is no need of the body")


def take(volumes, body, disk_format="raw", size=SIZE, **more):
    """Make volume-1 from a body."""
    return volumes.create_from_image(
        "volume-1", [], size, disk_format=disk_format, open_image=lambda: body, **more
    )


def holds(raw, data, size=SIZE):
    return raw.read("volumes", "volume-1") == data.ljust(size, b"\0")


# By a clone


def test_the_first_location_that_can_be_cloned_is(volumes, raw, place, image):
    other = f"rbd://{locations.OTHER_FSID}/images/image-1/snap"
    gone = f"rbd://{place.fsid}/images/image-2/snap"
    nowhere = f"rbd://{place.fsid}/nowhere/image-1/snap"
    unsnapped = f"rbd://{place.fsid}/images/image-1/other"
    tried = ["file:///image-1", "rbd://image-1", other, gone, nowhere, unsnapped]
    made = volumes.create_from_image(
        "volume-1", [*tried, image.uri, gone], SIZE, disk_format="raw", open_image=nobody
    )
    assert made == VolumeFromImage(
        "volume-1",
        SIZE,
        ImageSpec("images", "image-1", "snap"),
        1,
        (),
        "clone",
        image.uri,
        made.passed_over,
    )
    assert [verdict.location for verdict in made.passed_over] == tried
    reasons = [verdict.reason for verdict in made.passed_over]
    for reason, says in zip(
        reasons,
        (
            "is not an rbd:// location",
            "names no snapshot",
            "is in cluster",
            "no such image",
            "nowhere",
            "no such snapshot",
        ),
        strict=True,
    ):
        assert says in reason
    assert raw.data_objects("volumes", "volume-1") == 0
    assert holds(raw, samples.pattern("image", 9 * MiB))
    volumes.delete("volume-1")


def test_a_verdict_is_true_where_it_can_be_cloned():
    assert Verdict("rbd://image-1")
    assert not Verdict("rbd://image-1", "it names no snapshot")


def test_without_a_body_every_reason_is_told(volumes, place, image, unchanged):
    for tried, disk_format, says in (
        ([], "raw", "want of open_image: it has none"),
        (["file:///a", "rbd://image-1"], "raw", "'file:///a' is not an rbd:// location; rbd://im"),
        ([image.uri], "qcow2", "only raw can be cloned"),
    ):
        with pytest.raises(exceptions.NotCloneable, match="none of its locations") as caught:
            volumes.create_from_image("volume-1", tried, SIZE, disk_format=disk_format)
        assert says in str(caught.value)


def test_a_clone_is_not_cut_off(volumes, image, unchanged):
    with pytest.raises(exceptions.InvalidSize, match="smaller than the 9437184 bytes"):
        volumes.create_from_image(
            "volume-1", [image.uri], 9 * MiB - 1, disk_format="raw", open_image=nobody
        )


def test_a_name_that_is_taken_is_refused_before_the_body_is_opened(volumes, image):
    volumes.create("volume-1", MiB)
    for tried in ([image.uri], []):
        with pytest.raises(exceptions.Duplicate):
            volumes.create_from_image(
                "volume-1", tried, SIZE, disk_format="raw", open_image=nobody
            )
    volumes.delete("volume-1")


# By a copy


@pytest.mark.parametrize("kind", ["bytes", "file", "stream", "parts", "reader"])
def test_a_raw_body_is_copied(volumes, images, raw, qemu_img, tmp_path, kind):
    stored = images.add("image-1", DISK) if kind == "reader" else None
    (tmp_path / "disk").write_bytes(DISK)
    with open(tmp_path / "disk", "rb") as file:
        body = {
            "bytes": lambda: DISK,
            "file": lambda: file,
            "stream": lambda: bodies.Reader(DISK[:5], DISK[5:]),
            "parts": lambda: samples.pieces(DISK, 1000),
            "reader": lambda: images.get(stored.uri),
        }[kind]
        said = []
        made = volumes.create_from_image(
            "volume-1",
            ["file:///image-1"],
            SIZE,
            disk_format="raw",
            open_image=body,
            progress=lambda *figures: said.append(figures),
        )
        assert file.closed == (kind == "file")
    assert (made.method, made.location, made.size) == ("copy", "", SIZE)
    assert [verdict.location for verdict in made.passed_over] == ["file:///image-1"]
    assert made.parent is None
    assert holds(raw, DISK)
    assert said[-1] == (len(DISK), len(DISK))
    assert qemu_img.runs() == []
    volumes.delete("volume-1")
    if stored:
        images.delete(stored.uri)


def test_a_body_may_be_as_large_as_the_volume_or_empty(volumes, raw):
    for data, size in ((DISK, len(DISK)), (b"", MiB), (b"x", 1), (b"", 0)):
        take(volumes, iter([data]), size=size)
        assert holds(raw, data, size)
        volumes.delete("volume-1")


def test_a_body_larger_than_the_volume_is_refused(volumes, tmp_path, unchanged):
    (tmp_path / "disk").write_bytes(DISK)
    for body in (DISK, io.BytesIO(DISK), iter([DISK]), (tmp_path / "disk").open("rb")):
        with pytest.raises(exceptions.InvalidSize, match="is smaller than the image"):
            take(volumes, body, size=len(DISK) - 1)


def test_a_disk_with_partitions_or_encrypted_is_raw_all_the_same(volumes, raw):
    """As the image of an encrypted volume is, that Cinder made."""
    partitioned = DISK[:510] + b"\x55\xaa" + DISK[512:]
    for data in (partitioned, b"LUKS\xba\xbe\0\1" + DISK[8:], b"LUKS\xba\xbe\0\2" + DISK[8:]):
        take(volumes, io.BytesIO(data))
        assert holds(raw, data)
        volumes.delete("volume-1")
        with pytest.raises(exceptions.FormatMismatch):
            take(volumes, io.BytesIO(data), "qcow2")


def test_a_cd_is_copied(volumes, raw, qemu_img):
    cd = cd_image()
    take(volumes, io.BytesIO(cd), "iso")
    assert holds(raw, cd)
    assert qemu_img.runs() == []
    volumes.delete("volume-1")


def cd_image():
    """What is a CD as far as its descriptor goes."""
    descriptor = bytearray(2048)
    descriptor[:7] = b"\1CD001\1"
    return samples.pattern("boot", 32 * 1024) + descriptor + samples.pattern("files", MiB)


@pytest.mark.parametrize("kind", containers.KINDS)
def test_what_is_in_a_container_is_converted(volumes, raw, tmp_path, kind):
    disk_format, options = containers.KINDS[kind]
    container = containers.make(tmp_path, DISK, *options)
    said = []
    made = take(
        volumes,
        samples.pieces(container, MiB),
        disk_format,
        progress=lambda *figures: said.append(figures),
    )
    assert (made.method, made.size, made.parent) == ("copy", SIZE, None)
    assert holds(raw, DISK)
    assert said == sorted(said)
    assert said[-1][0] == said[-1][1] >= len(container) + SIZE
    volumes.delete("volume-1")


def test_only_the_container_is_hashed(volumes, raw, tmp_path, monkeypatch):
    """The disk in it may be many times as large."""
    hashed = []

    class Hashes(hashing.Hashes):
        def __init__(self, algorithm, *rest):
            self.counts = algorithm is not None
            super().__init__(algorithm, *rest)

        def update(self, data, done):
            hashed.append(len(data) if self.counts else 0)
            super().update(data, done)

    monkeypatch.setattr("rbdstore.transfer.uploading.Hashes", Hashes)
    container = containers.make(tmp_path, DISK, "-O", "qcow2")
    take(volumes, container, "qcow2")
    assert holds(raw, DISK)
    assert sum(hashed) == len(container)
    volumes.delete("volume-1")


def test_a_volume_has_a_name_that_qemu_must_not_read_otherwise(volumes, raw, tmp_path):
    name = "a,b=c:d\\e f"
    container = containers.make(tmp_path, DISK, "-O", "qcow2")
    volumes.create_from_image(
        name, [], SIZE, disk_format="qcow2", open_image=lambda: io.BytesIO(container)
    )
    assert raw.read("volumes", name) == DISK.ljust(SIZE, b"\0")
    volumes.delete(name)


# What is refused, before any tool has it


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Bodies that are refused: what is declared, the error, and what that says."""
    folder = tmp_path_factory.mktemp("hostile")
    qcow2 = containers.make(folder, DISK, "-O", "qcow2")
    vhd = containers.make(folder, DISK, "-O", "vpc")
    vmdk = containers.make(folder, DISK, "-O", "vmdk")
    streamed = containers.make(folder, DISK, *containers.KINDS["vmdk streamed"][1])
    hint = b'parentFileNameHint="/etc/passwd"'
    text = b'# Disk DescriptorFile\ncreateType="monolithicFlat"\nRW 99 FLAT "/etc/passwd" 0\n'
    unsafe, broken, other = (
        exceptions.UnsafeImage,
        exceptions.BrokenImage,
        exceptions.FormatMismatch,
    )

    def create(*arguments):
        return containers.create(folder, "-f", "qcow2", *arguments)

    return {
        "a backing file": (
            create("-b", "/etc/passwd", "-F", "raw", "1M"),
            ("qcow2", unsafe, "backing file"),
        ),
        "a data file": (
            create("-o", "data_file=data,data_file_raw=on", "1M"),
            ("qcow2", unsafe, "data_file"),
        ),
        "a PiB": (create("1P"), ("qcow2", exceptions.InvalidSize, "1125899906842624 bytes")),
        "a vhd with a parent": (containers.differencing_vhd(vhd), ("vhd", unsafe, "parent")),
        "a vmdk with a parent": (
            containers.vmdk_with_parent(vmdk, hint),
            ("vmdk", unsafe, "parent"),
        ),
        "a vmdk with a parent in a comment": (
            containers.vmdk_with_parent(vmdk, b"# " + hint),
            ("vmdk", unsafe, "parent"),
        ),
        "a vmdk with a parent after its descriptor": (
            containers.vmdk_with_parent(vmdk, hint, beyond=True),
            ("vmdk", unsafe, "parent"),
        ),
        "a streamed vmdk with a parent": (
            containers.vmdk_with_parent(streamed, hint),
            ("vmdk", unsafe, "parent"),
        ),
        "an encrypted qcow2": (
            containers.encrypted_qcow2(qcow2),
            ("qcow2", unsafe, "encrypted"),
        ),
        "an extent elsewhere": (text, ("vmdk", unsafe, "Unsupported subformat")),
        "a feature of the future": (
            qcow2[:72] + b"\x01" + qcow2[73:],
            ("qcow2", unsafe, "Unknown QCOW2 features"),
        ),
        "a header cut off": (qcow2[:100], ("qcow2", broken, "ends too early")),
        "a vmdk's header": (b"KDMV", ("vmdk", broken, "ends too early")),
        "a vhdx's header": (b"vhdxfile".ljust(100000, b"\0"), ("vhdx", broken, "cannot be read")),
        "a qcow2 called raw": (qcow2, ("raw", other, "as raw, but looks like qcow2")),
        "a qcow2 called iso": (qcow2, ("iso", other, "as iso, but looks like qcow2")),
        "a qcow2 called vmdk": (qcow2, ("vmdk", other, "as vmdk, but looks like qcow2")),
        "the start of a qcow2 called raw": (qcow2[:50], ("raw", other, "looks like qcow2")),
        "a vhd called raw": (vhd, ("raw", other, "looks like vhd")),
        "a text called raw": (text, ("raw", other, "looks like vmdk")),
        "a CD called raw": (cd_image(), ("raw", other, "looks like iso")),
        "a raw called qcow2": (DISK, ("qcow2", other, "as qcow2, but looks like raw")),
        "a raw called iso": (DISK, ("iso", other, "as iso, but looks like raw")),
        "nothing called qcow2": (b"", ("qcow2", other, "looks like raw")),
        "two in one": (
            qcow2[: 32 << 10] + b"\1CD001\1" + qcow2[(32 << 10) + 7 :],
            ("qcow2", other, "looks like iso and qcow2"),
        ),
    }


def test_what_is_hostile_is_refused_and_nothing_is_opened(
    volumes, images, raw, qemu_img, hostile, tmp_path
):
    before = raw.state()
    for name, (data, (disk_format, error, says)) in hostile.items():
        (tmp_path / "image").write_bytes(data)
        for body in (io.BytesIO(data), samples.pieces(data, 700), (tmp_path / "image").open("rb")):
            with pytest.raises(error, match=says) as caught:
                take(volumes, body, disk_format)
            assert type(caught.value) is error, name
            assert raw.state() == before, name
    assert qemu_img.runs() == []


@pytest.mark.parametrize("kind", containers.KINDS)
def test_an_image_that_was_cut_off_is_refused(volumes, tmp_path, kind, unchanged):
    disk_format, options = containers.KINDS[kind]
    whole = containers.make(tmp_path, DISK, *options)
    for length in (len(whole) // 2, len(whole) // 5):
        with pytest.raises(exceptions.BrokenImage):
            take(volumes, whole[:length], disk_format)


def test_of_the_sizes_that_an_image_says_qemus_counts(volumes, tmp_path, unchanged):
    whole = containers.make(tmp_path, DISK, "-O", "vpc", "-o", "force_size=on")
    with pytest.raises(exceptions.ConversionFailed):
        take(volumes, containers.vhd_of(whole, MiB), "vhd", size=len(DISK) - MiB)


def test_no_more_is_kept_of_an_image_than_its_disk_needs(volumes, tmp_path, unchanged):
    begin = containers.create(tmp_path, "-f", "qcow2", "1M")
    kept = []

    def endless():
        yield begin
        while True:
            kept.append(16 * MiB)
            yield bytes(16 * MiB)

    with pytest.raises(exceptions.InvalidBody, match="no disk of its size needs"):
        take(volumes, endless(), "qcow2", size=8 * MiB)
    assert sum(kept) < 320 * MiB


# Limits


def test_qemu_img_works_under_limits(place, scratch, raw, qemu_img, tmp_path):
    volumes = place.volumes(
        image_conversion_dir=str(scratch),
        image_conversion_address_space_limit=3,
        image_conversion_cpu_limit=77,
    )
    qemu_img.do(f"echo $(ulimit -v) $(ulimit -t) $(ulimit -c) $(ulimit -f) >>{tmp_path}/limits")
    take(volumes, containers.make(tmp_path, DISK, "-O", "qcow2"), "qcow2")
    checked, converted = (tmp_path / "limits").read_text().splitlines()
    # In KiB, seconds, and blocks of 512 bytes.
    assert checked == f"{3 << 20} 77 0 {MiB // 512}"
    assert converted == f"{3 << 20} 77 0 {SIZE // 512}"
    assert [run.split()[0] for run in qemu_img.runs()] == ["check", "convert"]
    volumes.delete("volume-1")


def test_a_conversion_that_takes_too_long_is_ended(place, scratch, qemu_img, tmp_path, unchanged):
    volumes = place.volumes(image_conversion_dir=str(scratch), image_conversion_time_limit=1)
    qemu_img.do("exec sleep 60")
    with pytest.raises(exceptions.ConversionFailed, match="image_conversion_time_limit"):
        take(volumes, containers.make(tmp_path, DISK, "-O", "qcow2"), "qcow2")


def test_a_conversion_that_takes_too_much_work_is_ended(
    place, scratch, qemu_img, tmp_path, unchanged
):
    volumes = place.volumes(image_conversion_dir=str(scratch), image_conversion_cpu_limit=1)
    qemu_img.do("while :; do :; done")
    with pytest.raises(exceptions.ConversionFailed, match="image_conversion_cpu_limit"):
        take(volumes, containers.make(tmp_path, DISK, "-O", "qcow2"), "qcow2")


def test_what_qemu_img_says_is_told(volumes, qemu_img, tmp_path, unchanged):
    qemu_img.do('case $1 in convert) echo "qemu-img: the disk is on fire" >&2; exit 1;; esac')
    container = containers.make(tmp_path, DISK, "-O", "qcow2")
    with pytest.raises(exceptions.ConversionFailed, match=r"status 1: .*the disk is on fire"):
        take(volumes, container, "qcow2")
    qemu_img.do('case $1 in convert) echo "write: No space left on device" >&2; exit 1;; esac')
    with pytest.raises(exceptions.StorageFull, match="No space left on device"):
        take(volumes, container, "qcow2")


def test_what_ends_qemu_img_is_told(volumes, qemu_img, tmp_path, unchanged, monkeypatch):
    container = containers.make(tmp_path, DISK, "-O", "qcow2")
    qemu_img.do("kill -ABRT $$")
    with pytest.raises(exceptions.ConversionFailed, match="signal 6, perhaps for want of memory"):
        take(volumes, container, "qcow2")
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "setpriv").symlink_to(shutil.which("setpriv"))
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(exceptions.NotSupported, match="install qemu-utils"):
        take(volumes, container, "qcow2")


def test_a_process_may_have_many_files_open(volumes, raw, tmp_path):
    """More than select() can count to."""
    container = containers.make(tmp_path, DISK, "-O", "qcow2")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
        for _ in range(1100):
            stack.callback(os.close, os.dup(0))
        take(volumes, container, "qcow2")
    assert holds(raw, DISK)
    volumes.delete("volume-1")


def test_a_directory_for_conversions_that_is_none(place, tmp_path, unchanged):
    volumes = place.volumes(image_conversion_dir=str(tmp_path / "nowhere"))
    with pytest.raises(exceptions.ConfigError, match="image_conversion_dir"):
        take(volumes, containers.make(tmp_path, DISK, "-O", "qcow2"), "qcow2")


# Failures of others


class Halted(Exception):
    """What a caller's own function raises."""


@pytest.mark.parametrize("disk_format", ["raw", "qcow2"])
@pytest.mark.parametrize("error", [Halted, KeyboardInterrupt])
def test_an_error_of_the_callers_comes_out_as_it_is(
    volumes, tmp_path, unchanged, disk_format, error
):
    data = containers.make(tmp_path, DISK, "-O", disk_format)

    def fail(*_figures):
        raise error

    def torn():
        yield data[: len(data) // 2]
        raise error

    def last(done, _total):
        if done > len(data):
            raise error

    calls = [
        lambda: volumes.create_from_image(
            "volume-1", [], SIZE, disk_format=disk_format, open_image=fail
        ),
        lambda: take(volumes, torn(), disk_format),
        lambda: take(volumes, data, disk_format, progress=fail),
    ]
    if disk_format == "qcow2":
        # While qemu-img is at work.
        calls.append(lambda: take(volumes, data, disk_format, progress=last))
    for call in calls:
        with pytest.raises(error):
            call()


def test_wrong_bodies(volumes, unchanged):
    table = wrong.UNREADABLE + [entry for entry in wrong.BODIES if entry.size is None]
    found = wrong.faults(table, lambda body, _size: take(volumes, body))
    assert not found, "\n".join(found)


_MAKER = """
import json, sys
import rbdstore

driver, options, path = json.loads(sys.argv[1])
with rbdstore.connect(driver, **options) as store:
    store.volumes.create_from_image(
        "volume-1", [], 12 << 20, disk_format="qcow2", open_image=lambda: open(path, "rb")
    )
"""


def test_qemu_img_dies_with_its_process_and_the_call_can_be_repeated(
    place, scratch, raw, qemu_img, tmp_path
):
    container = tmp_path / "image"
    container.write_bytes(containers.make(tmp_path, DISK, "-O", "qcow2"))
    pid = tmp_path / "pid"
    qemu_img.do(
        f"case $1 in convert) echo $$ >{pid}.new; mv {pid}.new {pid}; exec sleep 60;; esac"
    )
    options = place.options("volumes", image_conversion_dir=str(scratch), rbd_lease_seconds=5)
    with subprocess.Popen(
        [sys.executable, "-c", _MAKER, json.dumps([place.driver, options, str(container)])],
        cwd=places.ROOT,
    ) as maker:
        wait_until(pid.exists)
        maker.kill()
    wait_until(lambda: not is_alive(int(pid.read_text())))
    assert list(scratch.iterdir()) == []
    qemu_img.do("")
    volumes = place.volumes("admin")
    volumes.create_from_image(
        "volume-1", [], SIZE, disk_format="qcow2", open_image=lambda: container.open("rb")
    )
    assert holds(raw, DISK)
    assert raw.images("volumes") == ["volume-1"]
    volumes.delete("volume-1")


def test_a_service_may_be_under_stricter_limits_itself(place, scratch, raw, tmp_path):
    container = tmp_path / "image"
    container.write_bytes(containers.make(tmp_path, DISK, "-O", "qcow2"))
    options = place.options(
        "volumes", image_conversion_dir=str(scratch), image_conversion_cpu_limit=1000
    )
    subprocess.run(
        [
            *("prlimit", "--cpu=300", sys.executable, "-c", _MAKER),
            json.dumps([place.driver, options, str(container)]),
        ],
        cwd=places.ROOT,
        check=True,
    )
    assert holds(raw, DISK)
    place.volumes("admin").delete("volume-1")


def wait_until(is_so):
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(pid):
    try:
        os.kill(pid, signal.SIG_DFL)
    except ProcessLookupError:
        return False
    return True
