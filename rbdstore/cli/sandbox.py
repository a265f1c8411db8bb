# SPDX-License-Identifier: Apache-2.0
"""``sandbox``: a real Ceph of one host, to try things on."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cliff import show

from rbdstore import exceptions
from rbdstore.cli import base

if TYPE_CHECKING:
    from rbdstore.testing.standing import Standing

_NONE_STANDS = "no sandbox is up; start one: rbdstore sandbox up"


def _standing() -> Standing | None:
    # Here, because cliff imports every command to know its name.
    from rbdstore.testing import standing

    return standing.Standing.find()


class Up(base.Command):
    """Start a Ceph cluster of your own, on loopback, that stands until you take it down.

    Its data are in memory.
    """

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        from rbdstore.testing import recipe, standing

        try:
            standing.start()
        except recipe.SandboxError as error:
            raise exceptions.RbdStoreError(f"sandbox: {error}") from error
        self.app.stdout.write('It is up. Use it: eval "$(rbdstore sandbox env)"\n')


class Down(base.Command):
    """Take the sandbox down, with everything in it. One that is not up is no error."""

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        from rbdstore.testing import recipe

        found = _standing()
        if found is not None:
            try:
                found.end()
            except recipe.SandboxError as error:
                raise exceptions.RbdStoreError(f"sandbox: {error}") from error


class Status(base.Command, show.ShowOne):
    """Show whether a sandbox is up, and where its files are."""

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        found = _standing()
        return (
            ("state", "fsid", "folder", "ceph_conf", "config_file", "pid"),
            ("down", None, None, None, None, None)
            if found is None
            else ("up", found.fsid, found.path, found.conf_path, found.config_file, found.pid),
        )


class Env(base.Command):
    """Print the shell's variables by which rbdstore, rbd and ceph find the sandbox.

    For the shell you are in: eval "$(rbdstore sandbox env)"
    """

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        found = _standing()
        if found is None:
            raise exceptions.RbdStoreError(_NONE_STANDS)
        for name, value in found.env().items():
            self.app.stdout.write(f"export {name}={shlex.quote(value)}\n")
