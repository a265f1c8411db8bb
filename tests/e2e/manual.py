# SPDX-License-Identifier: Apache-2.0
"""The pages of the manual, for the tests that follow them."""

import configparser
import pathlib
import re
import shlex
import textwrap

import processes

PAGES = pathlib.Path(__file__).parents[2] / "doc" / "source" / "operator"


class Page:
    """A page by its name, such as ``glance``."""

    def __init__(self, name):
        self._text = (PAGES / f"{name}.rst").read_text()

    def configurations(self):
        """Its blocks of configuration, each as a parser."""
        found = []
        for _indent, block in re.findall(
            r"^( *)\.\. code-block:: ini\n\n((?:\1    ?.*\n|\n)+)", self._text, re.MULTILINE
        ):
            parser = configparser.ConfigParser(default_section="")
            parser.read_string(textwrap.dedent(block))
            found.append(parser)
        return found

    def command(self, begin):
        """The one command that begins so, as words."""
        text = re.sub(r"\\\n\s*", "", self._text)
        (line,) = re.findall(rf"^ +({re.escape(begin)}.*)$", text, re.MULTILINE)
        return shlex.split(line)

    def line(self, begin):
        """The one line of a block that begins so."""
        (line,) = re.findall(rf"^ +({re.escape(begin)}.*)$", self._text, re.MULTILINE)
        return line

    def run(self, begin, ceph):
        """Run that command, where a host's ceph.conf is that of a sandbox; what it prints."""
        program, *arguments = self.command(begin)
        return processes.run(
            processes.program(program) if program == "rbdstore" else program,
            *arguments,
            env=ceph.env() if program == "ceph" else {"CEPH_CONF": ceph.conf_path},
        )
