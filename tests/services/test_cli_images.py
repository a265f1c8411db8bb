# SPDX-License-Identifier: Apache-2.0
"""``rbdstore image``: files and pipes become images, and come out again."""

import contextlib
import errno
import hashlib
import os
import subprocess

import commands
import pytest
import samples

MiB = samples.MiB
DATA = samples.pattern("data", 3 * MiB)


@pytest.fixture
def shell(place, tmp_path):
    found = commands.Shell(place, tmp_path / "rbdstore.conf")
    found.config_file.write_text(
        found.config_file.read_text().replace(
            "default_backend = volumes", "default_backend = images"
        )
    )
    return found


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "disk.raw"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def output(tmp_path):
    """Where images are written to, in a folder of its own."""
    (tmp_path / "output").mkdir()
    return tmp_path / "output" / "disk.raw"


def test_add(shell, file, images):
    added = shell.json("image", "add", str(file), "image-1")
    assert added == {
        "id": "image-1",
        "location": images.uri("image-1"),
        "size": len(DATA),
        "checksum": hashlib.md5(DATA).hexdigest(),
        "os_hash_algo": "sha512",
        "os_hash_value": hashlib.sha512(DATA).hexdigest(),
    }
    assert b"".join(images.get(added["location"])) == DATA
    line = shell.fails("image", "add", str(file), "image-1")
    assert line == "rbdstore: images/image-1: the name is taken"
    images.delete(added["location"])


def test_add_makes_an_id(shell, file, images):
    first, second = (shell.json("image", "add", str(file)) for _ in range(2))
    assert first["id"] != second["id"]
    for added in (first, second):
        images.delete(added["location"])


def test_what_cannot_be_added(shell, file, tmp_path, unchanged):
    assert "No such file" in shell.fails("image", "add", str(tmp_path / "other"), "image-1")
    assert "Is a directory" in shell.fails("image", "add", str(tmp_path), "image-1")
    line = shell.fails("image", "add", str(file), "image-1", "--size", "4MiB")
    assert line.endswith("the data ends after 3145728 of the 4194304 bytes that were promised")
    line = shell.fails("image", "add", str(file), "image-1", "--size", "1MiB")
    assert line.endswith("the data goes on after the 1048576 bytes that were promised")
    assert "is reserved" in shell.fails("image", "add", str(file), "image-1.partial")
    line = shell.fails("image", "add", str(file), "image-1", "--hashing-algo", "rot13")
    assert "'rot13' is no hash algorithm" in line


def test_a_pipe_becomes_an_image_and_a_pipe(shell, images):
    with shell.start(
        "image", "add", "-", "image-1", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as adding:
        adding.communicate(DATA)
    assert adding.returncode == 0
    with shell.start("image", "get", "image-1", "-o", "-", stdout=subprocess.PIPE) as getting:
        assert getting.communicate()[0] == DATA
    assert getting.returncode == 0
    images.delete(images.uri("image-1"))


def test_whoever_reads_may_stop(shell, image):
    """As head does. That is no error that anybody wants to read about."""
    with shell.start(
        "image", "get", "image-1", "-o", "-", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as getting:
        assert getting.stdout.read(10) == samples.pattern("image", 9 * MiB)[:10]
        getting.stdout.close()
        assert getting.stderr.read() == b""
    assert getting.returncode == 141


def test_get(shell, image, output):
    assert shell.ok("image", "get", "image-1", "-o", str(output)) == ""
    assert output.read_bytes() == samples.pattern("image", 9 * MiB)
    assert commands.folder_of(output.parent) == {"disk.raw"}
    line = shell.fails("image", "get", "image-1", "-o", str(output))
    assert line == f"rbdstore: {output}: there is such a file; --force replaces it"
    shell.ok(
        "image", "get", image.uri, "-o", str(output), "--force", "--offset", "1MiB",
        "--length", "2MiB",
    )  # fmt: skip
    assert output.read_bytes() == samples.pattern("image", 9 * MiB)[MiB : 3 * MiB]


def test_zeros_become_holes(shell, images, output):
    stored = images.add("image-2", bytes(8 * MiB) + b"end" + bytes(8 * MiB))
    shell.ok("image", "get", "image-2", "-o", str(output))
    assert output.read_bytes() == bytes(8 * MiB) + b"end" + bytes(8 * MiB)
    assert output.stat().st_blocks * 512 < 9 * MiB
    images.delete(stored.uri)


def test_an_image_that_cannot_be_got_leaves_no_file(shell, image, output, tmp_path):
    line = shell.fails("image", "get", "other", "-o", str(output))
    assert line == "rbdstore: images/other: no such image"
    line = shell.fails("image", "get", "image-1", "-o", str(output), "--offset", "10MiB")
    assert "is beyond its end" in line
    none = tmp_path / "none" / "disk.raw"
    line = shell.fails("image", "get", "image-1", "-o", str(none))
    assert line == f"rbdstore: {none}: No such file or directory"
    assert commands.folder_of(output.parent) == set()


def test_get_into_something_that_is_no_file(shell, image, tmp_path):
    """It cannot be replaced, so it is written as it is."""
    shell.ok("image", "get", "image-1", "-o", "/dev/null")
    assert "Is a directory" in shell.fails("image", "get", "image-1", "-o", str(tmp_path))
    line = shell.fails("image", "get", "image-1", "-o", "/dev/full")
    assert line == "rbdstore: /dev/full: No space left on device"


def test_a_file_system_without_hard_links(shell, image, output, monkeypatch):
    def link(*_paths):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    shell.ok("image", "get", "image-1", "-o", str(output))
    assert output.read_bytes() == samples.pattern("image", 9 * MiB)
    assert "--force replaces it" in shell.fails("image", "get", "image-1", "-o", str(output))
    assert commands.folder_of(output.parent) == {"disk.raw"}


def test_show(shell, image):
    shown = shell.json("image", "show", "image-1")
    assert shown == shell.json("image", "show", image.uri)
    assert (shown["location"], shown["size"]) == (image.uri, 9 * MiB)
    assert shell.fails("image", "show", "other").endswith("no such image")
    assert "is not an rbd:// location" not in shell.fails("image", "show", "rbd://a/b")
    assert "is in pool volumes" in shell.fails(
        "image", "show", image.uri.replace("/images/", "/volumes/")
    )


def test_list(shell, image):
    assert shell.json("image", "list") == [
        {"id": "image-1", "size": 9 * MiB, "location": image.uri}
    ]
    assert "9 MiB" in shell.ok("image", "list")


def test_delete(shell, images):
    for name in ("image-1", "image-2", "image-3"):
        images.add(name, b"data")
    assert shell.ok("image", "delete", "image-1") == ""
    assert shell.fails("image", "delete", "image-1") == "rbdstore: images/image-1: no such image"
    assert shell.fails("image", "delete", "image-2", "image-3").endswith("add --yes")
    shell.ok("image", "delete", "image-2", images.uri("image-3"), "--yes")
    assert images.list() == []


def test_delete_an_image_in_use(shell, place, image, images):
    # Who deletes the last clone takes the image's data with it, where that user may.
    volumes = place.volumes("admin")
    stored = images.add("image-2", b"data")
    volumes.clone("volume-1", stored.uri)
    line = shell.fails("image", "delete", "image-2")
    assert "cloned by volumes/volume-1 (delete or flatten the clones first)" in line
    shell.ok("image", "delete", "image-2", "--in-use", "defer")
    assert not images.exists(stored.uri)
    volumes.delete("volume-1")


def test_an_old_location(shell, image, output):
    shell.ok("image", "get", "rbd://image-1", "-o", str(output))
    assert output.read_bytes() == samples.pattern("image", 9 * MiB)


@contextlib.contextmanager
def ended(process):
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [2, 15], ids=["SIGINT", "SIGTERM"])
def test_an_upload_that_is_interrupted_leaves_nothing(shell, images, raw, number):
    """The signal comes in the middle of the data; what is there is taken back."""
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with ended(shell.start("image", "add", "-", "image-1", **streams)) as adding:
        # More than a pipe holds, so that some of it has been read when this returns.
        adding.stdin.write(samples.pattern("data", 17 * MiB))
        adding.stdin.flush()
        adding.send_signal(number)
        # Not before: it may be waiting for more.
        out, err = adding.communicate()
    assert (out, adding.returncode) == (b"", 128 + number)
    assert err.decode() == f"rbdstore: ended by {'SIGINT' if number == 2 else 'SIGTERM'}\n"
    assert images.list() == []
