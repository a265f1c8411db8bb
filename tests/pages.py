# SPDX-License-Identifier: Apache-2.0
"""The pages of the documentation, and the blocks in them that a reader may copy.

A page goes by its path in ``doc/source``, without the suffix; the README is ``README``.
"""

import dataclasses
import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "doc" / "source"

# What nobody copies: pictures, and what is said rather than typed.
SHOWN = {"text"}

_BLOCK = re.compile(
    r"^(?P<indent> *)\.\. code-block:: (?P<language>[\w-]+)\n"
    r"(?P<options>(?:(?P=indent)   :.*\n)*)"
    r"\n"
    r"(?P<text>(?:(?P=indent)  +.*\n|[ ]*\n)+)",
    re.MULTILINE,
)
# A literal block without a language: nobody could tell what to do with it.
_BARE = re.compile(r"^(?! *\.\. ).*::\n\n +\S", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Block:
    """One block of a page.

    :ivar line: the number of its first line in the page
    :ivar file: the name of the file that it is to be kept in, its caption; most have none
    """

    page: str
    line: int
    language: str
    text: str
    file: str | None

    @property
    def begin(self) -> str:
        """Its first line, by which tables name it."""
        return self.text.splitlines()[0]

    def __str__(self):
        return f"{self.page}, line {self.line}: {self.begin}"


def path(page):
    return ROOT / "README.rst" if page == "README" else SOURCE / f"{page}.rst"


def names():
    """Every page, the README first."""
    found = sorted(SOURCE.rglob("*.rst"))
    return ["README", *(each.relative_to(SOURCE).with_suffix("").as_posix() for each in found)]


def text(page):
    return path(page).read_text()


def blocks(page):
    """The blocks of a page, in order."""
    whole = text(page)
    return [
        Block(
            page,
            whole.count("\n", 0, found.start("text")) + 1,
            found["language"],
            textwrap.dedent(found["text"]).strip("\n") + "\n",
            _caption(found["options"]),
        )
        for found in _BLOCK.finditer(whole)
    ]


def _caption(options):
    found = re.search(r":caption: (\S+)$", options, re.MULTILINE)
    return found and found[1]


def all_blocks():
    return [block for page in names() for block in blocks(page) if block.language not in SHOWN]


def block(page, language, words=""):
    """The one block of a page, of a language, that has these words in it."""
    (found,) = (
        each.text for each in blocks(page) if each.language == language and words in each.text
    )
    return found


def bare(page):
    """The literal blocks of a page that have no language, by their lines."""
    whole = text(page)
    return [whole.count("\n", 0, found.start()) + 1 for found in _BARE.finditer(whole)]
