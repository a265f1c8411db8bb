# SPDX-License-Identifier: Apache-2.0
"""How others open an image by themselves: libvirt, QEMU, os-brick. None of it holds a key."""

from __future__ import annotations

import dataclasses
import json
import uuid
import xml.etree.ElementTree as ElementTree  # nosec B405: it is written here, nothing is parsed
from typing import Any, Final

from rbdstore.driver import Pool
from rbdstore.spec import ImageSpec

_VOLUME_PREFIX: Final = "volume-"
# The kind of libvirt's secret.
_KIND: Final = "ceph"


@dataclasses.dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """What a client needs to open an image, but for the key.

    :ivar spec: pool, namespace and name of the image
    :ivar fsid: the cluster's id
    :ivar cluster_name: the cluster's name on this host
    :ivar user: as whom to connect, without ``client.``
    :ivar secret_uuid: libvirt's secret that holds the user's key
    :ivar monitors: host and port of every address of each monitor, as they are now
    :ivar features: the image's, by the names that the ``rbd`` command has for them
    :ivar discard: whether what is discarded is freed
    """

    spec: ImageSpec
    fsid: str
    cluster_name: str
    user: str
    secret_uuid: str
    monitors: tuple[tuple[str, int], ...]
    features: tuple[str, ...]
    discard: bool = True

    @property
    def name(self) -> str:
        """``pool/image``, or ``pool/namespace/image``."""
        return str(self.spec)

    def cinder(self, volume_id: str | None = None) -> dict[str, Any]:
        """What Cinder's ``initialize_connection`` returns, and os-brick takes.

        :param volume_id: None: what follows ``volume-`` in the name
        """
        if volume_id is None:
            volume_id = self.spec.image.removeprefix(_VOLUME_PREFIX)
        return {
            "driver_volume_type": "rbd",
            "data": {
                "name": self.name,
                "hosts": [host for host, _port in self.monitors],
                "ports": [str(port) for _host, port in self.monitors],
                "cluster_name": self.cluster_name,
                "auth_enabled": True,
                "auth_username": self.user,
                "secret_type": _KIND,
                "secret_uuid": self.secret_uuid,
                "volume_id": volume_id,
                "discard": self.discard,
            },
        }

    def blockdev(
        self,
        node_name: str | None = None,
        *,
        conf: str | None = None,
        key_secret: str | None = None,
    ) -> str:
        """The argument of QEMU's ``-blockdev``, for the raw data of the image.

        :param node_name: of the block device (None: one that is made of the name)
        :param conf: the path of a ceph.conf that leads to the keyring (None: QEMU looks for it in
            Ceph's usual places)
        :param key_secret: the id of QEMU's own secret object that has the key instead
        """
        options: dict[str, Any] = {
            "driver": "rbd",
            "node-name": node_name or _node_name(self.name),
            "pool": self.spec.pool,
            "image": self.spec.image,
            "user": self.user,
            "server": [{"host": host, "port": str(port)} for host, port in self.monitors],
            "discard": "unmap" if self.discard else "ignore",
        }
        if self.spec.namespace:
            options["namespace"] = self.spec.namespace
        if conf is not None:
            options["conf"] = conf
        if key_secret is not None:
            options["key-secret"] = key_secret
        return json.dumps(options)

    def libvirt(self, target: str = "vda", bus: str = "virtio") -> str:
        """The ``<disk>`` element of a libvirt domain.

        :param target: what the guest may call it
        :param bus: on which bus it is to be there
        """
        disk = ElementTree.Element("disk", type="network", device="disk")
        driver = {"name": "qemu", "type": "raw"}
        if self.discard:
            driver["discard"] = "unmap"
        ElementTree.SubElement(disk, "driver", driver)
        auth = ElementTree.SubElement(disk, "auth", username=self.user)
        ElementTree.SubElement(auth, "secret", type="ceph", uuid=self.secret_uuid)
        source = ElementTree.SubElement(disk, "source", protocol="rbd", name=self.name)
        for host, port in self.monitors:
            ElementTree.SubElement(source, "host", name=host, port=str(port))
        ElementTree.SubElement(disk, "target", dev=target, bus=bus)
        ElementTree.indent(disk)
        return ElementTree.tostring(disk, encoding="unicode")


def look(pool: Pool, name: str) -> ConnectionInfo:
    """How others open an image of ``pool``.

    :raises ImageNotFound:
    :raises NotSupported: the driver's images are for this library alone
    """
    cluster = pool.cluster
    access = cluster.access()
    with pool.open(name) as image:
        features = image.features()
    return ConnectionInfo(
        pool.spec(name),
        cluster.fsid,
        access.cluster_name,
        access.user,
        access.secret_uuid,
        tuple(cluster.monitors()),
        tuple(sorted(features)),
    )


def _node_name(name: str) -> str:
    # QEMU takes letters, digits and -._ only, 31 at the most, and two disks must not have one.
    return f"rbd-{uuid.uuid5(uuid.NAMESPACE_URL, name).hex[:24]}"
