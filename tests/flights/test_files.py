# SPDX-License-Identifier: Apache-2.0
"""Files as bodies: their holes are not read, and they may change meanwhile."""

import hashlib
import io
import os
import random

import pytest
from bodies import OBJECT, noise
from flying import content, fill, new_image

from rbdstore import exceptions, transfer
from rbdstore.transfer import bodies


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("buffering", [0, -1], ids=["raw", "buffered"])
def test_files_with_holes(pool, airport, tmp_path, seed, buffering):
    chance = random.Random(seed)
    path = tmp_path / "file"
    with path.open("wb") as file:
        for _ in range(6):
            file.seek(chance.randrange(6 * OBJECT), 1)
            file.write(chance.randbytes(chance.randrange(3 * OBJECT)))
        file.truncate(file.tell() + chance.choice([0, 5 * OBJECT]))
    start = chance.choice([0, 1, OBJECT, 3 * OBJECT + 5])
    data = path.read_bytes()[start:]
    with new_image(pool, airport) as image, path.open("rb", buffering) as file:
        file.seek(start)
        found = fill(image, file)
        assert file.tell() == start + len(data)
        assert content(image) == data
    assert found.checksum == hashlib.md5(data).hexdigest()


def test_holes_of_files_are_not_read(tmp_path):
    path = tmp_path / "file"
    size = 256 << 20
    with path.open("wb") as file:
        file.write(b"begin")
        file.seek(size - 3)
        file.write(b"end")
    with path.open("rb", 0) as file:
        before = bytes_read()
        found = transfer.measure(file, size, "md5")
        read = bytes_read() - before
    assert read < size / 8
    assert found.checksum == hashlib.md5(b"begin" + bytes(size - 8) + b"end").hexdigest()


def bytes_read():
    """By all threads of this process, from wherever."""
    with open("/proc/self/io") as counts:
        return int(next(line for line in counts if line.startswith("rchar")).split()[1])


@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_with_holes_of_another_size(pool, airport, tmp_path, change):
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.truncate(5 * OBJECT)
    with (
        new_image(pool, airport, 5 * OBJECT + change) as image,
        path.open("rb") as file,
        pytest.raises(exceptions.InvalidBody),
    ):
        fill(image, file, 5 * OBJECT + change)


def test_a_file_that_is_cut_off_while_its_holes_are_looked_for(tmp_path):
    """What was data is not to become zeros."""
    path = tmp_path / "file"
    path.write_bytes(noise(4 * OBJECT))

    class CutOff(io.FileIO):
        def seek(self, position, whence=os.SEEK_SET):
            if whence == os.SEEK_HOLE:
                os.truncate(path, OBJECT)
            return super().seek(position, whence)

    with CutOff(path) as file:
        file.seek(2 * OBJECT)
        with memoryview(bytearray(OBJECT)) as target:
            assert bodies._Stretches(file).fill(target) == 0


def test_a_file_that_is_not_what_it_is_on_the_disk(pool, airport, tmp_path):
    """A subclass may give something else than the file has."""

    class Shouting(io.FileIO):
        def read(self, size=-1):
            return super().read(size).upper()

    path = tmp_path / "file"
    path.write_bytes(b"data")
    with new_image(pool, airport) as image, Shouting(path) as file:
        fill(image, file)
        assert content(image) == b"DATA"


def test_a_file_of_no_size_that_has_data(pool, airport):
    """As in /proc."""
    with new_image(pool, airport) as image, open("/proc/self/limits", "rb", 0) as file:
        fill(image, file)
        assert content(image).startswith(b"Limit")
