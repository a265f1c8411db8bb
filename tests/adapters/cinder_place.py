# SPDX-License-Identifier: Apache-2.0
"""Cinder's own objects, as its services hand them to a driver, without its database."""

import json
import uuid

from cinder import context, objects
from cinder.volume import configuration, driver
from oslo_config import cfg

objects.register_all()
CONF = cfg.CONF
CONTEXT = context.RequestContext("user", "project", is_admin=True)
HOST = "host@ceph#ceph"


def volume_type(name="plain", **extra_specs):
    return objects.VolumeType(
        CONTEXT,
        id=str(uuid.uuid4()),
        name=name,
        qos_specs_id=None,
        extra_specs={key: f"<is> {value}" for key, value in extra_specs.items()},
    )


def volume(size=1, of_type=None, **fields):
    row = {
        "id": str(uuid.uuid4()),
        "_name_id": None,
        "size": size,
        "host": HOST,
        "status": "available",
        "use_quota": True,
        "encryption_key_id": None,
        "provider_location": None,
        "volume_type_id": None,
    }
    made = objects.Volume(CONTEXT, **row | fields)
    made.volume_type = of_type or volume_type()
    return made


def snapshot(of, **fields):
    made = objects.Snapshot(
        CONTEXT, id=str(uuid.uuid4()), volume_id=of.id, volume_size=of.size, **fields
    )
    made.volume = of
    return made


def saved(model_update):
    """What a driver has Cinder keep for a volume that several hosts write to."""
    return json.loads(model_update["provider_location"])["saved_features"]


def configure(folder, sections):
    """Read a cinder.conf of these sections, as a service does when it starts."""
    lines = []
    for name, values in sections.items():
        lines += [f"[{name}]", *(f"{option} = {value}" for option, value in values.items())]
    path = folder / "cinder.conf"
    path.write_text("\n".join(lines))
    CONF.reset()
    CONF([], project="cinder", default_config_files=[str(path)])


def load(kind, section, **arguments):
    """Make a driver of a section, as the volume service does."""
    options = configuration.Configuration(driver.volume_opts, config_group=section)
    return kind(configuration=options, host=HOST, **arguments)
