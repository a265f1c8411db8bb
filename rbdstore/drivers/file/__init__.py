# SPDX-License-Identifier: Apache-2.0
"""The embedded driver: a cluster in a folder, for where there is no Ceph.

Names, sizes, snaps and lineage are rows of an SQLite database; data are sparse files, one for each
object that was ever written::

    rbdstore.db                             schema.py, database.py
    pools/<pool>/<image id>/<layer>/<object>
    pools/<pool>/<image id>/*.watcher       a file lock each, held by an open handle: locks.py
    pools/<pool>/<image id>/{gate,data}     file locks that writers and snaps meet at: locks.py
    tmp/                                    objects that are being made

No part of a path comes from a user: pools, images, layers and objects go by numbers.

**Layers.** An image writes into its *head layer*. A snap only notes which layer was the head's; as
long as a snap has the head's layer, that layer is *frozen*, and the first write after makes a new
one above it. An object is looked up from the head's layer down, and then in the parent, at the
snap that the image was cloned from, as far as they overlap; so snap and clone are one row each.
The first write to an object that only something below has copies it up. An empty file is an
object that was discarded: it hides what is below. Removing a snap lets two layers melt into one,
the upper one's objects being renamed over the lower one's.

That was chosen over versions of each object (as RADOS has them) because what a kill leaves is then
correct as it is. Each change of what an image *is* is one transaction; files only follow it:

* An object gets into a layer whole, by one ``link``, and only where there is none of that number.
* Melting moves objects from where they are looked for first to where they are looked for next, so
  that every step of it looks the same to every reader; the next one goes on with it.
* Flattening puts the parent's objects into the lowest layer, where they are what was seen before
  through the parent; only then are the parents let go of.
* A folder that is to go is noted in the table ``garbage`` by the transaction that lets go of it,
  and files in ``tmp`` are locked by who makes them; whoever opens the data directory sweeps both.
* Without power rows may be lost that files outlive. So what is copied up is synced before it gets
  its name, the database before anything is moved or removed for what it says, and a number whose
  folder is there already is passed over.

**Locks**, each taken only while none of those after it is held: the handle's mutex, the image's
``gate``, the image's ``data``, the process's turn to write to the database, the database. Writers
hold ``data`` shared while they write, what changes the image's shape holds it alone; nobody holds
the locks of two images. Who reads takes no lock: it looks at the layers again afterwards, and
reads again if they have changed. Inside a transaction nobody waits for a file lock.
"""
