# SPDX-License-Identifier: Apache-2.0
"""``trash``: what is deleted and not gone yet."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from cliff import lister

from rbdstore.cli import base, shapes


class Purge(base.Command, lister.Lister):
    """Remove for good what was deleted, where nothing needs it and its time in the trash is over.

    What rbdstore did not put there stays; so does what clones need. With the option
    enable_deferred_deletion this is done in the background as well.
    """

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        found = self.store().purge_deleted()
        rows = [(shapes.Name(name), "purged", shapes.Maybe(None)) for name in found.purged]
        rows += [(shapes.Name(one.name), "kept", shapes.Maybe(one.reason)) for one in found.kept]
        return ("name", "outcome", "reason"), rows
