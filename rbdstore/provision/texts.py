# SPDX-License-Identifier: Apache-2.0
"""What is in the files: keyrings, ceph.conf, libvirt's secrets, the services' sections."""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ElementTree  # nosec B405: it is written here, nothing is parsed
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from rbdstore import spec
from rbdstore.provision import roles
from rbdstore.provision.description import Description
from rbdstore.provision.files import SECRET, File, Keys
from rbdstore.provision.roles import Kind
from rbdstore.provision.users import entity

# Who works in the pools of a kind, the usual one first.
_WORKERS: Final[Mapping[Kind, Sequence[str]]] = {
    kind: [name for name, work in roles.WORK.items() if work.own == kind] for kind in roles.KINDS
}

Section = tuple[str, Mapping[str, str]]


def files(wanted: Description, fsid: str, monitors: str) -> list[File]:
    """All of them, those with keys first.

    :param monitors: what ``ceph config generate-minimal-conf`` tells
    """
    return _Texts(wanted, fsid, monitors).files()


class _Texts:
    def __init__(self, wanted: Description, fsid: str, monitors: str) -> None:
        self._wanted = wanted
        self._fsid = fsid
        self._monitors = monitors
        self._conf = self._path("ceph.clients.conf")
        self._secrets = {
            role: wanted.secrets.get(role) or spec.secret_uuid(fsid, role)
            for role in wanted.roles
            if role in roles.ATTACHED
        }

    def files(self) -> list[File]:
        made = [self._keyring(role) for role in self._wanted.roles]
        made += [self._key(role) for role in self._secrets]
        made.append(_fixed(self._conf, self._ceph_conf()))
        for role, secret in self._secrets.items():
            made.append(_fixed(self._secret_path(role), self._secret(role, secret)))
        if self._secrets:
            made.append(_fixed(self._path("libvirt-secrets.sh"), self._virsh()))
        services = {
            "glance-api.conf": self._glance(),
            "cinder.conf": self._cinder(),
            "nova.conf": self._nova(),
            "rbdstore.conf": self._rbdstore(),
        }
        made += [
            _fixed(self._path(name), _ini(sections))
            for name, sections in services.items()
            if sections
        ]
        return made

    # Where they are

    def _path(self, name: str) -> str:
        return os.path.join(self._wanted.output_dir, name)

    def _keyring_path(self, role: str) -> str:
        return self._path(f"ceph.{entity(role)}.keyring")

    def _key_path(self, role: str) -> str:
        return self._path(f"ceph.{entity(role)}.key")

    def _secret_path(self, role: str) -> str:
        return self._path(f"{entity(role)}.secret.xml")

    # Ceph

    def _keyring(self, role: str) -> File:
        user = entity(role)

        def text(keys: Keys) -> str:
            return f"[{user}]\n\tkey = {keys[role]}\n"

        def key(text: str) -> str | None:
            # Those that Ceph writes have the capabilities in them, too, which count for nothing.
            found = re.search(rf"^\s*\[{re.escape(user)}\][^\[]*?^\s*key\s*=\s*(\S+)", text, re.M)
            return found[1] if found else None

        owner = self._wanted.owners.get(role)
        return File(self._keyring_path(role), text, SECRET, owner, tells=key)

    def _key(self, role: str) -> File:
        owner = self._wanted.owners.get(role)
        return File(self._key_path(role), lambda keys: f"{keys[role]}\n", SECRET, owner)

    def _ceph_conf(self) -> str:
        sections = [
            (entity(role), {"keyring": self._keyring_path(role)}) for role in self._wanted.roles
        ]
        return f"{self._monitors.strip()}\n\n{_ini(sections)}"

    # libvirt

    def _secret(self, role: str, number: str) -> str:
        secret = ElementTree.Element("secret", ephemeral="no", private="yes")
        ElementTree.SubElement(secret, "uuid").text = number
        usage = ElementTree.SubElement(secret, "usage", type="ceph")
        # No two secrets may have one name, and there may be several clusters.
        ElementTree.SubElement(usage, "name").text = f"{entity(role)} of {self._fsid}"
        ElementTree.indent(secret)
        return ElementTree.tostring(secret, encoding="unicode") + "\n"

    def _virsh(self) -> str:
        lines = ["# On each compute host, as root, with the files that are named here."]
        for role, number in self._secrets.items():
            lines += [
                f"virsh secret-define --file {self._secret_path(role)}",
                f"virsh secret-set-value --secret {number} --file {self._key_path(role)}",
            ]
        return "\n".join(lines) + "\n"

    # The services

    def _glance(self) -> list[Section]:
        backends = self._backends("images", ("glance",))
        if not backends:
            return []
        return [
            (
                "DEFAULT",
                {
                    "enabled_backends": ", ".join(f"{name}:rbdstore" for name in backends),
                    # Else nobody can clone an image: Cinder and Nova learn from it where it is.
                    "show_image_direct_url": "true",
                },
            ),
            ("glance_store", {"default_backend": next(iter(backends))}),
            *(
                (
                    name,
                    {
                        "rbd_store_pool": pool,
                        "rbd_store_user": "glance",
                        "rbd_store_ceph_conf": self._conf,
                    },
                )
                for name, (pool, _) in backends.items()
            ),
        ]

    def _cinder(self) -> list[Section]:
        volumes = self._backends("volumes", ("cinder",))
        backups = self._backends("backups", ("cinder-backup",))
        common = {}
        if volumes:
            common["enabled_backends"] = ", ".join(volumes)
        for pool, role in list(backups.values())[:1]:
            common |= {
                "backup_driver": "rbdstore.adapters.cinder_backup.RBDBackupDriver",
                "backup_ceph_conf": self._conf,
                "backup_ceph_user": role,
                "backup_ceph_pool": pool,
            }
        if not common:
            return []
        return [
            ("DEFAULT", common),
            *(
                (
                    name,
                    {
                        "volume_backend_name": name,
                        "volume_driver": "rbdstore.adapters.cinder.RBDDriver",
                        **self._backend(pool, role),
                    },
                )
                for name, (pool, role) in volumes.items()
            ),
        ]

    def _nova(self) -> list[Section]:
        for pool, role in self._backends("vms", _WORKERS["vms"]).values():
            return [
                (
                    "libvirt",
                    {
                        "images_type": "rbd",
                        "images_rbd_pool": pool,
                        "images_rbd_ceph_conf": self._conf,
                        "rbd_user": role,
                        "rbd_secret_uuid": self._secrets[role],
                    },
                )
            ]
        return []

    def _rbdstore(self) -> list[Section]:
        backends = {
            name: found
            for kind in roles.KINDS
            for name, found in self._backends(kind, _WORKERS[kind]).items()
        }
        default = next((name for name in backends if name.startswith("volumes")), None)
        return [
            (
                "rbdstore",
                {
                    "enabled_backends": ", ".join(f"{name}:rbd" for name in backends),
                    "default_backend": default or next(iter(backends)),
                },
            ),
            *((name, self._backend(pool, role)) for name, (pool, role) in backends.items()),
        ]

    def _backends(self, kind: Kind, workers: Iterable[str]) -> dict[str, tuple[str, str]]:
        """The backends of a kind, each with its pool and with who works there."""
        role = next((name for name in workers if name in self._wanted.roles), None)
        pools = [pool.name for pool in self._wanted.pools.get(kind, ())]
        if role is None:
            return {}
        names = [kind] if len(pools) == 1 else [f"{kind}-{pool}" for pool in pools]
        return {name: (pool, role) for name, pool in zip(names, pools, strict=True)}

    def _backend(self, pool: str, role: str) -> dict[str, str]:
        values = {"rbd_pool": pool, "rbd_user": role, "rbd_ceph_conf": self._conf}
        if role in self._secrets:
            values["rbd_secret_uuid"] = self._secrets[role]
        return values


def _fixed(path: str, text: str) -> File:
    return File(path, lambda _keys: text)


def _ini(sections: Iterable[tuple[str, Mapping[str, str]]]) -> str:
    return "\n".join(
        f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())
        for name, values in sections
    )
