# SPDX-License-Identifier: Apache-2.0
"""glance_store, configured by a file as Glance's is."""

import contextlib
import io

import glance_store
import samples
from glance_store import location
from oslo_config import cfg

CONF = cfg.CONF
DATA = samples.pattern("glance", 9 * samples.MiB + 1)


def options(place, pool="images", user="glance", **more):
    """The section of a store over a place, with the stock driver's names."""
    values = place.options(pool, user, rbdstore_driver=place.driver, **more)
    for ours, theirs in (
        ("rbd_pool", "rbd_store_pool"),
        ("rbd_user", "rbd_store_user"),
        ("rbd_ceph_conf", "rbd_store_ceph_conf"),
    ):
        if ours in values:
            values[theirs] = values.pop(ours)
    return values


@contextlib.contextmanager
def configured(folder, sections, driver="rbdstore"):
    """Have glance_store configured, with a backend for each section but ``backend_defaults``.

    It is the one configuration of the process, which glance_store asks for what it is not given.
    """
    stores = [name for name in sections if name != "backend_defaults"]
    lines = ["[DEFAULT]", "enabled_backends = " + ", ".join(f"{name}:{driver}" for name in stores)]
    lines += ["[glance_store]", f"default_backend = {stores[0]}"]
    for name, values in sections.items():
        lines += [f"[{name}]", *(f"{option} = {value}" for option, value in values.items())]
    path = folder / "glance-api.conf"
    path.write_text("\n".join(lines))
    CONF.register_opt(cfg.DictOpt("enabled_backends"))
    CONF([], project="glance", default_config_files=[str(path)])
    try:
        glance_store.register_store_opts(CONF)
        glance_store.create_multi_stores(CONF)
        yield
    finally:
        for schemes in location.SCHEME_TO_CLS_BACKEND_MAP.values():
            for found in schemes.values():
                found["store"].close()
        location.SCHEME_TO_CLS_BACKEND_MAP.clear()
        CONF.reset()
        CONF.unregister_opts([cfg.DictOpt("enabled_backends")])


# What Glance does


def add(data=DATA, size=None, image_id="image-1", store="ceph", **options):
    """Add an image as Glance does; the size is told unless it is 0."""
    size = len(data) if size is None else size
    body = io.BytesIO(data) if isinstance(data, bytes) else data
    algorithm = options.pop("hashing_algo", "sha512")
    return glance_store.add_with_multihash(CONF, image_id, body, size, store, algorithm, **options)


def get(uri, store="ceph", **wanted):
    pieces, size = glance_store.get(uri, store, **wanted)
    data = b"".join(pieces)
    assert len(data) == size
    return data


def delete(*uris, store="ceph"):
    for uri in uris:
        glance_store.delete(uri, store)


def size_of(uri):
    return glance_store.get_size_from_uri_and_backend(uri, "ceph")
