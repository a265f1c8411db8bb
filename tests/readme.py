# SPDX-License-Identifier: Apache-2.0
"""The README, for the tests that hold it to its word."""

import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.rst").read_text()


def block(language):
    """Return the one code block of a language."""
    (found,) = re.findall(rf"\.\. code-block:: {language}\n\n((?:    .*\n|\n)+)", TEXT)
    return textwrap.dedent(found)
