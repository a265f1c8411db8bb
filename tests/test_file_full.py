# SPDX-License-Identifier: Apache-2.0
"""The file driver on a disk that is full: it says so, and can still delete."""

import subprocess
import sys
import textwrap

import filestore
import pytest
from filestore import MiB

from rbdstore import exceptions

# In namespaces of its own any user may mount a file system that is small.
UNSHARED = ["unshare", "--user", "--map-root-user", "--mount"]
MOUNT = ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs"]

FILL = """
import sys
sys.path[:0] = {path!r}
import filestore
from filestore import MiB
from rbdstore import exceptions

cluster = filestore.connect({folder!r}, file_store_reserve=4)
pool = cluster.open_pool("volumes")
kept = filestore.fill(pool, "kept", b"k" * MiB)
pool.create("big", 1 << 30)

def fill():
    with pool.open("big", read_only=False) as image:
        for turn in range(100):
            try:
                image.write(turn * MiB, b"b" * MiB)
                image.flush()
            except exceptions.StorageFull as error:
                assert error.spec == pool.spec("big"), error
                return turn
    raise AssertionError("it is never full")

def check():
    assert filestore.content(pool, "kept") == b"k" * MiB
    with pool.open("big") as image:
        assert image.read(0, 5 * MiB) == b"b" * (5 * MiB)
"""


def mountable(folder):
    command = [*UNSHARED, *MOUNT, str(folder)]
    try:
        return subprocess.run(command, capture_output=True, timeout=60).returncode == 0
    except FileNotFoundError:
        return False


@pytest.fixture
def on_a_small_disk(tmp_path):
    """Run code in a process that has a small disk, with a data directory on it that is full."""
    if not mountable(tmp_path):
        pytest.skip("no file system can be mounted here")

    def run(code):
        script = FILL.format(path=[str(filestore._ROOT), *sys.path], folder=f"{tmp_path}/data")
        script += textwrap.dedent(code) + "\nprint('done')\n"
        shell = f'{" ".join(MOUNT)} "$0" && exec "$1" -c "$2"'
        done = subprocess.run(
            [*UNSHARED, "sh", "-c", shell, str(tmp_path), sys.executable, script],
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.stdout == "done\n", done.stderr

    return run


def test_it_says_so_and_can_be_used_again(on_a_small_disk):
    on_a_small_disk(
        """
        turns = fill()
        assert turns > 20
        check()
        # What needs no room for data still works.
        with pool.open("kept", read_only=False) as image:
            image.create_snap("s")
            pool.clone(pool, "kept", "s", "clone")
        filestore.remove_all(pool)
        assert cluster.leftovers() == []
        pool.create("big", 1 << 30)
        assert abs(fill() - turns) <= 3
        filestore.remove_all(pool)
        assert cluster.leftovers() == []
        """
    )


def test_another_filled_it_to_the_last_byte(on_a_small_disk, tmp_path):
    on_a_small_disk(
        f"""
        import itertools
        fill()
        other = {str(tmp_path)!r} + "/other"
        with open(other, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1 << 12))
            except OSError:
                pass
        try:
            for number in itertools.count():
                pool.create(f"{{number}}" + "x" * 200, MiB)
        except exceptions.StorageFull as error:
            assert error.spec is not None
        check()
        import os
        os.unlink(other)
        check()
        filestore.remove_all(pool)
        assert cluster.leftovers() == []
        """
    )


def test_what_is_reserved_is_not_written_to(tmp_path):
    # More than any disk has.
    cluster = filestore.connect(tmp_path, file_store_reserve=1 << 30)
    pool = cluster.open_pool("volumes")
    pool.create("a", MiB)
    with pool.open("a", read_only=False) as image:
        with pytest.raises(exceptions.StorageFull, match="file_store_reserve") as caught:
            image.write(0, b"data")
        assert caught.value.spec == pool.spec("a")
        assert image.read(0, 4) == bytes(4)
    assert pool.stats().free == 0
    filestore.remove_all(pool)
    assert cluster.leftovers() == []
    cluster.close()


def test_what_is_reserved_is_not_flattened_into(tmp_path):
    cluster = filestore.connect(tmp_path)
    pool = cluster.open_pool("volumes")
    filestore.fill(pool, "a", b"data")
    with pool.open("a", read_only=False) as image:
        image.create_snap("s")
    pool.clone(pool, "a", "s", "c")
    # More than any disk has.
    full = filestore.connect(tmp_path, file_store_reserve=1 << 30)
    with full.open_pool("volumes").open("c", read_only=False) as clone:
        with pytest.raises(exceptions.StorageFull, match="file_store_reserve"):
            clone.flatten()
        assert clone.parent() is not None
        assert clone.read(0, 4) == b"data"
    full.close()
    filestore.remove_all(pool)
    assert cluster.leftovers() == []
    cluster.close()
