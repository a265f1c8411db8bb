# SPDX-License-Identifier: Apache-2.0
"""Feed one parser with what atheris finds, guided by the lines that it reaches.

::

    python -m fuzz.fly NAME SECONDS [FOLDER]

A fault ends it with a traceback, and leaves the input in the folder, to be made a seed.
"""

import os
import sys
import tempfile

import atheris

with atheris.instrument_imports(include=["rbdstore", "oslo_utils.imageutils"]):
    from fuzz import parsers


def main(name, seconds, folder):
    for number, seed in enumerate(parsers.PARSERS[name].seeds):
        with open(os.path.join(folder, f"seed-{number}"), "wb") as file:
            file.write(seed)
    longest = max(4096, *(2 * len(seed) for seed in parsers.PARSERS[name].seeds))
    limits = [f"-max_total_time={seconds}", f"-max_len={longest}", "-timeout=20"]
    # What is left behind is told apart from the seeds.
    limits += ["-rss_limit_mb=2048", f"-artifact_prefix={folder}/fault-", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], folder, *limits], lambda data: parsers.feed(name, bytes(data)))
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:3], *(sys.argv[3:] or [tempfile.mkdtemp()]))
