# SPDX-License-Identifier: Apache-2.0
"""The README, for the tests that hold it to its word."""

import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.rst").read_text()


def block(language, words=""):
    """Return the one code block of a language that has these words in it."""
    found = re.findall(rf"\.\. code-block:: {language}\n\n((?:    .*\n|\n)+)", TEXT)
    (block,) = (text for text in found if words in text)
    return textwrap.dedent(block)


def on_ceph():
    """Return the Python that needs Ceph and the configuration."""
    return block("python", "rbdstore.load(")


def on_files():
    """Return the Python that needs neither."""
    return block("python", "rbdstore.connect(")
