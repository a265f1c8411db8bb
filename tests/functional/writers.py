# SPDX-License-Identifier: Apache-2.0
"""A client of its own that writes to an image all the time, and knows what of it landed."""

import contextlib
import subprocess
import threading

from samples import KiB

STEP = 16 * KiB
LEAST_WRITES = 20


class Writer:
    """qemu-io, which writes a stretch after the other, and knows which were acknowledged."""

    def __init__(self, sandbox, pool, name, size):
        self._size = size
        target = f"rbd:{pool}/{name}:id=admin:conf={sandbox.conf_path}"
        # Nothing that it acknowledges may be in a cache only.
        self._process = subprocess.Popen(
            ["qemu-io", "-f", "raw", "-t", "none", target],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.written = {}
        self.errors = []
        self._stopping = threading.Event()
        self._many = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self):
        self._thread.start()
        return self

    def wait_for_writes(self):
        """Wait until it has written some more."""
        self._many.clear()
        assert self._many.wait(60), self.errors

    def wait_for_an_error(self):
        """Wait until it cannot write any more."""
        self._thread.join(60)
        assert self.errors

    def _write(self):
        count = 0
        while not self._stopping.is_set() and not self.errors:
            # All over the image, and again, each time with other bytes.
            offset = count * 7 * STEP % self._size
            byte = count % 255 + 1
            said = self._do(f"write -P {byte} {offset} {STEP}", "wrote ")
            if said != f"wrote {STEP}/{STEP} bytes at offset {offset}":
                self.errors.append(said)
                break
            self.written[offset] = byte
            count += 1
            if count % LEAST_WRITES == 0:
                self._many.set()

    def _do(self, command, beginning):
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            said = line.rpartition("qemu-io> ")[2].strip()
            if said.startswith(beginning) or "failed" in said or "error" in said:
                return said
        return "it has ended"

    def __exit__(self, *_error):
        self._stopping.set()
        self._thread.join(60)
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate("quit\n", timeout=60)
        self._process.kill()

    def expected(self, data):
        """What is in the image, which held ``data`` when it began."""
        found = bytearray(data)
        for offset, byte in self.written.items():
            found[offset : offset + STEP] = bytes([byte]) * STEP
        return found
