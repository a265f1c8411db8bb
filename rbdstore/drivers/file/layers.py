# SPDX-License-Identifier: Apache-2.0
"""Which layers an image has: a new one above a frozen one, and two melting into one."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import Final

from rbdstore.drivers.file import objects, views
from rbdstore.drivers.file.datadir import DataDirectory

# A layer that no snap has, nor the head, and that has at most one above it.
_SUPERFLUOUS: Final = """
SELECT number AS lower,
    (SELECT number FROM layers above WHERE above.below = layers.number) AS upper
FROM layers
WHERE image = :image
    AND number != (SELECT layer FROM images WHERE images.number = :image)
    AND NOT EXISTS (SELECT 1 FROM snaps WHERE snaps.layer = layers.number)
    AND (SELECT count(*) FROM layers above WHERE above.below = layers.number) <= 1
LIMIT 1
"""


def is_frozen(tx: sqlite3.Connection, layer: int) -> bool:
    """Whether a layer is also a snap's, or below one: after a rollback the head may be that."""
    (frozen,) = tx.execute(
        "SELECT EXISTS (SELECT 1 FROM snaps WHERE layer = :layer) "
        "OR EXISTS (SELECT 1 FROM layers WHERE below = :layer)",
        {"layer": layer},
    ).fetchone()
    return bool(frozen)


def thaw(data: DataDirectory, tx: sqlite3.Connection, pool: int, image: int) -> None:
    """Put a new layer above a frozen head layer."""
    (head,) = tx.execute("SELECT layer FROM images WHERE number = ?", (image,)).fetchone()
    # Somebody else may have done it just before.
    if is_frozen(tx, head):
        made = _add(data, tx, pool, image, head)
        tx.execute("UPDATE images SET layer = ? WHERE number = ?", (made, image))


def _add(data: DataDirectory, tx: sqlite3.Connection, pool: int, image: int, below: int) -> int:
    while True:
        made = tx.execute("INSERT INTO layers (image, below) VALUES (?, ?)", (image, below))
        number = int(made.lastrowid or 0)
        folder = data.layer_folder(pool, image, number)
        if not os.path.isdir(folder):
            return number
        # It had its number before, and the database lost it, as it may without power.
        tx.execute("DELETE FROM layers WHERE number = ?", (number,))
        data.discard(tx, folder)


def superfluous(tx: sqlite3.Connection, image: int) -> tuple[int | None, int] | None:
    """A layer that is no more needed, after the one above it, if there is one."""
    row = tx.execute(_SUPERFLUOUS, {"image": image}).fetchone()
    return None if row is None else (row["upper"], row["lower"])


def drop(data: DataDirectory, tx: sqlite3.Connection, pool: int, image: int, layer: int) -> None:
    """Remove a layer that nothing is above."""
    tx.execute("DELETE FROM layers WHERE number = ?", (layer,))
    folder = data.layer_folder(pool, image, layer)
    if os.path.isdir(folder):
        data.discard(tx, folder)


def melt(data: DataDirectory, pool: int, image: int, upper: int, lower: int) -> None:
    """Move the objects of a layer into the one below it, which nothing else needs.

    To be called by who is alone with the image. Killed anywhere, it may be called again.
    """
    above = data.layer_folder(pool, image, upper)
    below = data.layer_folder(pool, image, lower)
    if os.path.isdir(above) and not os.path.isdir(below):
        # Not the folder itself: a reader would find neither for a moment.
        os.mkdir(below)
    for number in views.listed(above):
        os.rename(views.object_path(above, number), views.object_path(below, number))
    objects.sync_folder(below)
    objects.sync_folder(above)
    with data.database.writing() as tx:
        both = (lower, upper)
        tx.execute("UPDATE images SET layer = ? WHERE layer = ?", both)
        tx.execute("UPDATE snaps SET layer = ? WHERE layer = ?", both)
        tx.execute("UPDATE layers SET below = ? WHERE below = ?", both)
        drop(data, tx, pool, image, upper)
        bottom, parent = _bottom(tx, image, lower)
    if bottom and not parent:
        _clear_whiteouts(below)


def _bottom(tx: sqlite3.Connection, image: int, layer: int) -> tuple[bool, bool]:
    """Whether a layer is the lowest, and whether anything in the image still has a parent."""
    (bottom,) = tx.execute(
        "SELECT below IS NULL FROM layers WHERE number = ?", (layer,)
    ).fetchone()
    (parent,) = tx.execute(
        "SELECT EXISTS (SELECT 1 FROM images WHERE number = :image AND parent IS NOT NULL) "
        "OR EXISTS (SELECT 1 FROM snaps WHERE image = :image AND parent IS NOT NULL)",
        {"image": image},
    ).fetchone()
    return bool(bottom), bool(parent)


def _clear_whiteouts(layer: str) -> None:
    """Remove the empty files of a layer that has nothing below to hide."""
    for number in views.listed(layer):
        path = views.object_path(layer, number)
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_size == 0:
                os.unlink(path)
