# SPDX-License-Identifier: Apache-2.0
"""The README, for the tests that hold it to its word."""

import pages

ROOT = pages.ROOT
TEXT = pages.text("README")


def block(language, words=""):
    """Return the one code block of a language that has these words in it."""
    return pages.block("README", language, words)


def on_ceph():
    """Return the Python that needs Ceph and the configuration."""
    return block("python", "rbdstore.load(")


def on_files():
    """Return the Python that needs neither."""
    return block("python", "rbdstore.connect(")
