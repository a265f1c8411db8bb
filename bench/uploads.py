# SPDX-License-Identifier: Apache-2.0
"""A process that uploads 8 images at once, and prints how many KiB it takes.

Run by :mod:`memory`: ``python bench/uploads.py SIDE CEPH_CONF FILE``. The first number is what it
takes when it has uploaded one, the second the most that it took.
"""

import contextlib
import os
import pathlib
import re
import sys
import threading

import glance_side

AT_ONCE = 8


def status(field):
    text = pathlib.Path("/proc/self/status").read_text()
    return re.search(rf"{field}:\s+(\d+) kB", text)[1]


def main(name, conf, path):
    with contextlib.closing(glance_side.SIDES[name](conf)) as side:
        uris = []

        def upload():
            with open(path, "rb") as body:
                uris.append(side.add(body, os.path.getsize(path)))

        upload()
        before = status("VmRSS")
        threads = [threading.Thread(target=upload) for _ in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(before, status("VmHWM"))
        for uri in uris:
            side.delete(uri)
        if len(uris) != AT_ONCE + 1:
            raise SystemExit("an upload failed")


if __name__ == "__main__":
    main(*sys.argv[1:])
