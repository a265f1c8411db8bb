# SPDX-License-Identifier: Apache-2.0
"""What is done around a fork. To be imported by whoever uses locks and databases."""

from __future__ import annotations

import os

from rbdstore.drivers.file import database, locks


def _before() -> None:
    # In this order: a transaction that is waited for may have to open a lock's file.
    database.before_fork()
    locks.before_fork()


def _in_parent() -> None:
    locks.after_fork_in_parent()
    database.after_fork_in_parent()


def _in_child() -> None:
    locks.after_fork_in_child()
    database.after_fork_in_child()


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
