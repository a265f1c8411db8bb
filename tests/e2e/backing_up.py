# SPDX-License-Identifier: Apache-2.0
"""The round of backups that both drivers are put through."""

from volume_data import DATA, begins, filled, name


def back_up_and_restore(client, raw, backend):
    volume = filled(client, raw, backend)
    full = client.create_backup(volume["id"])
    raw.write("volumes", name(volume), b"later")
    # In use: an instance need not be stopped for it.
    attachment = client.attach(volume["id"])
    incremental = client.create_backup(volume["id"], incremental=True)
    client.detach(attachment["id"])
    target = client.create(1, volume_type=backend)
    client.restore(incremental["id"], target["id"])
    assert begins(raw, target) == b"later" + DATA[5:]
    # In place, which is what it was.
    client.restore(full["id"], volume["id"])
    assert begins(raw, volume) == DATA
    for backup in (incremental, full):
        client.delete_backup(backup["id"])
    for made in (volume, target):
        client.delete(made["id"])
    assert raw.images("backups") == []
