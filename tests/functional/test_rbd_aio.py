# SPDX-License-Identifier: Apache-2.0
"""What librbd tells of reads and writes in flight, in this library's terms."""

import os
import pathlib
import threading

import pytest
import samples
import scratch
from samples import MiB

from rbdstore import exceptions
from rbdstore.transfer import reads


@pytest.mark.parametrize(
    "options", ["", "rbd_cache = false\nrbd_disable_zero_copy_writes = false"]
)
def test_who_may_not_write_is_told_by_the_completion(connect, pool, sandbox, tmp_path, options):
    conf = tmp_path / "other.conf"
    conf.write_text(f"{pathlib.Path(sandbox.conf_path).read_text()}\n[client]\n{options}\n")
    other_pool = connect(rbd_ceph_conf=str(conf)).open_pool("volumes")
    with scratch.an_image(pool, data=b"theirs") as image:
        image.lock()
        with other_pool.open("a", read_only=False) as other:
            ended = threading.Event()
            completion = other.aio_write(0, b"mine", ended.set)
            completion.wait()
            assert ended.is_set()
            for _ in range(2):
                with pytest.raises(exceptions.ReadOnly) as caught:
                    completion.result()
                assert caught.value.spec == pool.spec("a")
        assert image.read(0, 6) == b"theirs"


def test_an_image_that_became_shorter(pool):
    """Of what is not its any more nothing is given, or zeros; librbd may not touch the buffer."""
    with scratch.an_image(pool, data=b"x" * (5 * MiB)) as image, pool.open("a") as reader:
        assert reader.size() == 16 * MiB
        image.resize(5 * MiB - 3, allow_shrink=True)
        for offset, length in ((0, 8 * MiB), (4 * MiB, 4 * MiB), (5 * MiB, MiB)):
            found = reader.aio_read(offset, length).result()
            wanted = (b"x" * (5 * MiB - 3)).ljust(16 * MiB, b"\0")
            assert found == wanted[offset : offset + len(found)]


def test_large_ones_across_many_objects(pool):
    """More bytes in flight than librbd's cache takes, in buffers that are used again."""
    data = samples.pattern("aio", 96 * MiB)
    with scratch.an_image(pool, size=len(data)) as image:
        buffer = bytearray(12 * MiB)
        completions = []
        for start in range(0, len(data), len(buffer)):
            buffer[:] = data[start : start + len(buffer)]
            completions.append(image.aio_write(start, buffer))
        for completion in completions:
            completion.result()
        image.flush()
        with pool.open("a") as reader:
            reads = [reader.aio_read(start, 7 * MiB) for start in range(0, len(data), 7 * MiB)]
            assert b"".join(each.result() for each in reads) == data


def test_a_child_process_leaves_them_alone(pool):
    with scratch.an_image(pool, data=b"x" * MiB) as image:
        completion = image.aio_read(0, MiB)
        pieces = reads.drain(image, 0, 16 * MiB)
        next(pieces)
        child = os.fork()
        if not child:
            try:
                completion.wait()
                completion.result()
            except exceptions.Unreachable:
                pieces.close()
                image.close()
                os._exit(0)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert completion.result() == b"x" * MiB
        pieces.close()
