# SPDX-License-Identifier: Apache-2.0
"""Services whose threads write to one SQLite database at once; imported before they begin.

oslo.db begins a transaction with ``BEGIN``. Two that have read, and then write, would wait for
each other, so SQLite fails one of them: ``database is locked``. With ``BEGIN IMMEDIATE`` each
waits for its turn, as long as the ``timeout`` of the connection (:func:`url`) is.
"""

from sqlalchemy import engine, event


def url(path):
    """The database of a service, for its configuration."""
    return f"sqlite:///{path}?timeout=120"


@event.listens_for(engine.Engine, "begin")
def begin(connection):
    # Before oslo.db's own, which looks for this mark.
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        connection.info["in_transaction"] = True
