# SPDX-License-Identifier: Apache-2.0
"""``backend``: what is configured."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from cliff import lister

from rbdstore import exceptions, loading
from rbdstore.cli import base, interrupts, shapes


class List(base.Command, lister.Lister):
    """List the backends of the configuration, and what their pools hold.

    One that cannot be used is listed too, with the reason.
    """

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        columns = ("name", "driver", "default", "pool", "total", "free", "used", "state")
        program = self.program
        if program.options.driver is not None:
            return columns, [("", program.options.driver, True, *self._state(None))]
        return columns, [
            (found.name, found.driver, found.is_default, *self._state(found.name))
            for found in loading.backends(program.config_file)
        ]

    def _state(self, backend: str | None) -> Sequence[Any]:
        """Pool, total, free, used, state."""
        pool = None
        try:
            store = self.program.store(backend)
            pool = store.pool_name
            with interrupts.at_once():
                stats = store.volumes.stats()
        except exceptions.RbdStoreError as error:
            return pool, None, None, None, str(error)
        return (
            pool,
            shapes.Size(stats.total),
            shapes.Size(stats.free),
            shapes.Size(stats.used),
            "up",
        )
