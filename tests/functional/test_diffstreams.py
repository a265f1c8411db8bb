# SPDX-License-Identifier: Apache-2.0
"""Ceph's own command reads the streams that are written here, and writes those that are read."""

import io
import subprocess

import pytest
import rbd
import samples

from rbdstore.backup.diffstreams import DiffReader, DiffWriter, Header

MiB = samples.MiB
NAME = "volume-1"


@pytest.fixture
def command(sandbox):
    def run(*arguments, stdin=None):
        done = subprocess.run(
            ["rbd", *arguments, "--no-progress"],
            env=sandbox.env(),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            check=True,
        )
        return done.stdout

    return run


@pytest.fixture
def history(raw):
    """An image of two moments, and the bytes of each."""
    raw.create("volumes", NAME, 10 * MiB)
    with raw.open("volumes", NAME) as image:
        image.write(samples.pattern("one", 3 * MiB), MiB // 2)
        image.create_snap("one")
        image.write(samples.pattern("two", 100), 5 * MiB - 50)
        image.discard(MiB, MiB)
        image.resize(9 * MiB)
        image.create_snap("two")
    yield {snap: raw.read("volumes", NAME, snap) for snap in ("one", "two")}
    raw.remove("volumes", NAME)


def applied(stream, before=b""):
    """What the next diff of a stream makes of an image; and what it says of the whole."""
    reader = DiffReader(stream)
    image = bytearray(before[: reader.header.size].ljust(reader.header.size, b"\0"))
    for change in reader:
        data = bytes(change.length) if change.data is None else change.data
        image[change.offset : change.offset + change.length] = data
    return bytes(image), reader.header


def difference(before, after, header, version=1):
    """A diff of two images, as it might be written by hand."""
    stream = io.BytesIO()
    writer = DiffWriter(stream, header, version=version)
    before = before.ljust(len(after), b"\0")
    for start in range(0, len(after), MiB // 4):
        piece = after[start : start + MiB // 4]
        if piece == before[start : start + len(piece)]:
            continue
        if any(piece):
            writer.data(start, piece)
        else:
            writer.zeros(start, len(piece))
    writer.end()
    return stream.getvalue()


def test_what_the_command_exports(command, history):
    full = command("export-diff", f"volumes/{NAME}@one", "-")
    more = command("export-diff", "--from-snap", "one", f"volumes/{NAME}@two", "-")
    first, header = applied(io.BytesIO(full))
    assert first == history["one"]
    assert header == Header(10 * MiB, None, "one")
    assert applied(io.BytesIO(more), first) == (history["two"], Header(9 * MiB, "one", "two"))


def test_what_the_command_merges(command, history, tmp_path):
    paths = [str(tmp_path / name) for name in ("full", "more", "merged")]
    command("export-diff", f"volumes/{NAME}@one", paths[0])
    command("export-diff", "--from-snap", "one", f"volumes/{NAME}@two", paths[1])
    command("merge-diff", *paths)
    with open(paths[2], "rb") as merged:
        assert applied(merged) == (history["two"], Header(9 * MiB, None, "two"))


def test_what_the_command_exports_in_its_second_format(command, history, raw):
    with raw.open("volumes", NAME) as image:
        image.protect_snap("two")
    stream = io.BytesIO(command("export", "--export-format", "2", f"volumes/{NAME}", "-"))
    stream.seek(stream.getvalue().index(b"rbd diff v2\n"))
    # After the snaps comes the image as it is.
    for snap, before in (("one", ""), ("two", "one"), ("two", "two")):
        image, header = applied(stream, history.get(before, b""))
        assert image == history[snap]
    assert header.to_snap is None
    assert stream.read() == b""


def test_what_the_command_imports(command, history, raw):
    raw.create("volumes", "volume-2", MiB)
    full = difference(b"", history["one"], Header(10 * MiB, None, "first"))
    more = difference(history["one"], history["two"], Header(9 * MiB, "first", "second"))
    for stream in (full, more):
        command("import-diff", "-", "volumes/volume-2", stdin=stream)
    assert raw.snaps("volumes", "volume-2") == ["first", "second"]
    assert raw.read("volumes", "volume-2", "first") == history["one"]
    assert raw.read("volumes", "volume-2") == history["two"]
    raw.remove("volumes", "volume-2")


def test_what_the_command_imports_in_its_second_format(command, history, raw):
    # The head of such a file is of the image as it began, up to the count of its diffs.
    head = command("export", "--export-format", "2", f"volumes/{NAME}", "-")
    head = head[: head.index(b"rbd diff v2\n")]
    diffs = [
        difference(b"", history["one"], Header(10 * MiB, None, "one"), 2),
        difference(history["one"], history["two"], Header(9 * MiB, "one", "two"), 2),
        difference(history["two"], history["two"], Header(9 * MiB, "two", None), 2),
    ]
    command(
        "import", "--export-format", "2", "-", "volumes/volume-2", stdin=head + b"".join(diffs)
    )
    assert raw.read("volumes", "volume-2", "one") == history["one"]
    assert raw.read("volumes", "volume-2") == history["two"]
    raw.remove("volumes", "volume-2")


def test_of_an_image_in_stripes(command, raw):
    """Which Cinder's driver makes where it is told to."""
    data = samples.pattern("stripes", 12 * MiB)
    with raw.ioctx("volumes") as ioctx:
        raw.rbd.create(
            ioctx,
            NAME,
            len(data),
            features=rbd.RBD_FEATURE_LAYERING | rbd.RBD_FEATURE_STRIPINGV2,
            stripe_unit=MiB // 4,
            stripe_count=3,
        )
    raw.write("volumes", NAME, data)
    exported = command("export-diff", f"volumes/{NAME}", "-")
    assert applied(io.BytesIO(exported)) == (data, Header(len(data)))
    raw.remove("volumes", NAME)
