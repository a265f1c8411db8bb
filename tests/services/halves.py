# SPDX-License-Identifier: Apache-2.0
"""Uploads by other processes that stand still in the middle, for as long as a test wants."""

import contextlib
import os

import racers
import samples
from samples import MiB


class Upload:
    """An upload by another process that stands still after its first MiB of two."""

    def __init__(self, racer, raw, path, image_id, seed):
        self.racer = racer
        self.data = samples.pattern(seed, 2 * MiB)
        os.mkfifo(path)
        known = set(raw.images("images"))
        racer.begin(upload_from, image_id, str(path), 2 * MiB)
        self._pipe = path.open("wb", buffering=0)
        self._pipe.write(self.data[:MiB])
        racers.until(lambda: set(raw.images("images")) - known)

    def finish(self):
        """Give it the rest; return how it ended."""
        # The one who read may have given up meanwhile.
        with contextlib.suppress(BrokenPipeError), self._pipe:
            self._pipe.write(self.data[MiB:])
        return self.racer.outcome()

    def close(self):
        self._pipe.close()


def upload_from(all_stores, image_id, path, size):
    with open(path, "rb") as body:
        all_stores.images.add(image_id, body, size)
