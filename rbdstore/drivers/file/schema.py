# SPDX-License-Identifier: Apache-2.0
"""The tables."""

from __future__ import annotations

from typing import Final

VERSION: Final = 1
"""Kept as the database's ``user_version``."""

TABLES: Final = """
CREATE TABLE cluster (
    fsid TEXT NOT NULL
);

-- A namespace of a pool is a pool here; '' is the default one.
CREATE TABLE pools (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    namespace TEXT NOT NULL,
    UNIQUE (name, namespace)
);

-- kept_until: in the trash, and at least until then; NULL: it has its name.
-- parent: the snap it was cloned from, of which the first `overlap` bytes show through.
-- owner: the address of the watcher that holds the exclusive lock, if that is still alive.
CREATE TABLE images (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    pool INTEGER NOT NULL REFERENCES pools,
    name TEXT NOT NULL,
    kept_until REAL,
    bits INTEGER NOT NULL,
    features TEXT NOT NULL,
    layer INTEGER NOT NULL REFERENCES layers DEFERRABLE INITIALLY DEFERRED,
    size INTEGER NOT NULL,
    parent INTEGER REFERENCES snaps DEFERRABLE INITIALLY DEFERRED,
    overlap INTEGER NOT NULL DEFAULT 0,
    owner TEXT
);
CREATE UNIQUE INDEX images_by_name ON images (pool, name) WHERE kept_until IS NULL;
CREATE INDEX images_in_trash ON images (pool, kept_until) WHERE kept_until IS NOT NULL;
CREATE INDEX images_by_parent ON images (parent) WHERE parent IS NOT NULL;
CREATE INDEX images_by_layer ON images (layer);

CREATE TABLE layers (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    image INTEGER NOT NULL REFERENCES images ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    below INTEGER REFERENCES layers DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX layers_by_image ON layers (image);
CREATE INDEX layers_by_below ON layers (below);

-- layer, size, parent and overlap are the image's as they were then.
CREATE TABLE snaps (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    image INTEGER NOT NULL REFERENCES images ON DELETE CASCADE,
    name TEXT NOT NULL,
    protected INTEGER NOT NULL DEFAULT 0,
    layer INTEGER NOT NULL REFERENCES layers DEFERRABLE INITIALLY DEFERRED,
    size INTEGER NOT NULL,
    parent INTEGER REFERENCES snaps DEFERRABLE INITIALLY DEFERRED,
    overlap INTEGER NOT NULL,
    UNIQUE (image, name)
);
CREATE INDEX snaps_by_layer ON snaps (layer);
CREATE INDEX snaps_by_parent ON snaps (parent) WHERE parent IS NOT NULL;

CREATE TABLE metadata (
    image INTEGER NOT NULL REFERENCES images ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (image, key)
) WITHOUT ROWID;

-- Small objects. The lease on one is held under `cookie` until `until`.
CREATE TABLE objects (
    pool INTEGER NOT NULL REFERENCES pools,
    key TEXT NOT NULL,
    content BLOB NOT NULL DEFAULT x'',
    owner TEXT,
    cookie TEXT,
    until REAL NOT NULL DEFAULT 0,
    PRIMARY KEY (pool, key)
) WITHOUT ROWID;
CREATE TABLE entries (
    pool INTEGER NOT NULL,
    key TEXT NOT NULL,
    name TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (pool, key, name),
    FOREIGN KEY (pool, key) REFERENCES objects ON DELETE CASCADE
) WITHOUT ROWID;

-- Folders, below the data directory, that nothing needs any more.
CREATE TABLE garbage (
    folder TEXT PRIMARY KEY
) WITHOUT ROWID;
"""
