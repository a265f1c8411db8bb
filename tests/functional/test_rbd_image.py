# SPDX-License-Identifier: Apache-2.0
"""What only the rbd driver promises of an image's data. The rest is in ``test_suite``."""

import pytest
import rbd
import scratch
from samples import OLD_FEATURES
from scratch import GiB, MiB

from rbdstore import exceptions


class TestData:
    def test_discard_is_exact_and_frees_objects(self, either_pool, raw):
        with scratch.an_image(either_pool, size=16 * MiB, data=b"\xff" * (16 * MiB)) as image:
            image.discard(MiB - 5, 10 * MiB + 10)
            image.flush()
            with either_pool.open("a") as reader:
                data = reader.read(0, 16 * MiB)
            assert data[: MiB - 5] == b"\xff" * (MiB - 5)
            assert not any(data[MiB - 5 : 11 * MiB + 5])
            assert data[11 * MiB + 5 :] == b"\xff" * (5 * MiB - 5)
            stored = [key for key in raw.objects("volumes") if key.startswith("rbd_data.")]
            # The second of the four lies in it as a whole.
            assert len(stored) == 3

    def test_arguments_that_the_binding_cannot_hand_on(self, pool):
        with scratch.an_image(pool) as image:
            for refused in (
                lambda: pool.create("b", -1),
                lambda: image.write(-1, b""),
                lambda: image.discard(-1, 2),
                lambda: image.resize(-1, allow_shrink=True),
                lambda: image.set_metadata("key", "\ud800"),
            ):
                with pytest.raises(exceptions.InvalidInput):
                    refused()

    @pytest.mark.parametrize("kind", [bytearray, bytes])
    def test_data_may_change_though_librbd_was_told_not_to_copy_it(self, pool, kind):
        parts = [bytes([number]) * MiB for number in range(1, 17)]
        with scratch.an_image(pool) as image:
            for option in ("rbd_disable_zero_copy_writes", "rbd_cache"):
                image.set_metadata(f"conf_{option}", "false")
            buffer = bytearray(MiB)
            with pool.open("a", read_only=False) as opened:
                begun = []
                for number, part in enumerate(parts):
                    buffer[:] = part
                    data = buffer if kind is bytearray else bytes(buffer)
                    begun.append(opened.aio_write(number * MiB, data))
                    # Memory that was freed is used again by the next.
                    del data
                    buffer[:] = bytes(MiB)
                for completion in begun:
                    completion.result()
                opened.flush()
                assert opened.read(0, 16 * MiB) == b"".join(parts)

    def test_discard_of_more_than_librbd_takes_at_once(self, pool):
        with scratch.an_image(pool, size=5 * GiB, data=b"x" * 100) as image:
            image.write(4 * GiB, b"y" * 100)
            # Its end lies within a piece that librbd would take, and whole pieces beyond it.
            image.discard(0, 10 * GiB)
            assert not any(image.read(0, 100) + image.read(4 * GiB, 100))

    def test_extents_come_in_order_from_a_large_image(self, connect):
        pool = connect(rbd_store_chunk_size=1).open_pool("volumes")
        with scratch.an_image(pool, size=100 * GiB) as image:
            places = [0, 4 * GiB - MiB, 4 * GiB, 9 * GiB, 99 * GiB]
            for place in places:
                image.write(place, b"x" * MiB)
            image.flush()
            found = list(image.extents(0, 100 * GiB, whole_object=True))
            assert [extent.offset for extent in found] == places
            assert {extent.length for extent in found} == {MiB}

    def test_whether_extents_cost_little(self, connect, raw):
        """They do not without the feature, nor where librbd does not trust what it says."""
        with scratch.an_image(connect(rbd_features=OLD_FEATURES).open_pool("volumes")) as image:
            assert not image.fast_diff()
        pool = connect().open_pool("volumes")
        with scratch.an_image(pool) as image:
            assert image.fast_diff()
            with raw.open("volumes", "a") as opened:
                opened.update_features(rbd.RBD_FEATURE_FAST_DIFF, False)
                opened.update_features(rbd.RBD_FEATURE_FAST_DIFF, True)
            with pool.open("a") as reader:
                assert "fast-diff" in reader.features()
                assert not reader.fast_diff()
