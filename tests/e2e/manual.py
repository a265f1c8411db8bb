# SPDX-License-Identifier: Apache-2.0
"""The pages of the manual as steps, for the test that follows them."""

import re
import shlex

import configuration
import pages

_TITLE = re.compile(r"^(.+)\n-+\n", re.MULTILINE)
_STEP = re.compile(r"^\d+\. ", re.MULTILINE)


def begin(page):
    """The blocks that stand before a page's first section."""
    before, *_sections = _TITLE.split(pages.text(page))
    return list(_within(page, before))


def steps(page, title):
    """The numbered steps of a section, each as its blocks."""
    _before, *parts = _TITLE.split(pages.text(page))
    section = dict(zip(parts[::2], parts[1::2], strict=True))[title]
    _before, *found = _STEP.split(section)
    return [list(_within(page, step)) for step in found]


def _within(page, part):
    start = pages.text(page).index(part)
    first = pages.text(page).count("\n", 0, start) + 1
    last = first + part.count("\n")
    return (block for block in pages.blocks(page) if first <= block.line <= last)


def options(block):
    """A configuration as ``{section: {option: value}}``."""
    parser = configuration.parser()
    parser.read_string(block.text)
    return {name: dict(parser[name]) for name in parser.sections()}


def commands(block):
    """Each command of a shell, as words."""
    lines = re.sub(r"\\\n\s*", "", block.text).splitlines()
    return [shlex.split(line) for line in lines if line]
