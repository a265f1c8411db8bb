# SPDX-License-Identifier: Apache-2.0
"""Cinder, as it is installed from the Python registry, over backends on a sandbox.

There is no keystone: who sends a request is an administrator. What an operator's cinder.conf says
of a backend is the same for both drivers, but for ``volume_driver``.
"""

import pathlib
import shutil
import sys

import cinder_client
import configuration
import processes

RBDSTORE = "rbdstore.adapters.cinder.RBDDriver"
STOCK = "cinder.volume.drivers.rbd.RBDDriver"
BACKUP = "rbdstore.adapters.cinder_backup.RBDBackupDriver"
STOCK_BACKUP = "cinder.backup.drivers.ceph.CephBackupDriver"
HOST = "e2e"
# Of the cluster's users, those that Cinder's hosts have a keyring of.
_USERS = ("admin", "cinder", "cinder-backup")

# os-brick reads keyrings at one fixed place: the services get one of their own.
_WITH_KEYRINGS = 'mount --bind "$0" /etc/ceph && exec "$@"'


def options(ceph, driver, **more):
    """The section of a backend, as operators of the stock driver have it."""
    return {
        "volume_driver": driver,
        "rbd_ceph_conf": ceph.conf_path,
        "rbd_user": "cinder",
        "rbd_pool": "volumes",
        "rbd_max_clone_depth": 3,
        **more,
    }


def host(backend):
    """Where the volumes of a backend are, for those who migrate and manage them."""
    return f"{HOST}@{backend}#{backend}"


class Cinder(processes.Service):
    """cinder-api, -scheduler, -volume and -backup.

    :ivar client: what drives it (:class:`cinder_client.Client`)
    :ivar database: the file with its database
    """

    def __init__(self, folder, ceph, glance_url, backends, *, backup_driver=BACKUP, database=None):
        """Describe one in ``folder``, which is made.

        :param backends: the options of each, by its name
        :param database: one to begin with, which is copied; None: an empty one is made
        """
        folder.mkdir(parents=True)
        for name in ("conversion", "locks", "bin", "etc-ceph"):
            (folder / name).mkdir()
        # The services call it by this name; they are root already.
        sudo = folder / "bin" / "sudo"
        sudo.write_text('#!/bin/sh\nexec "$@"\n')
        sudo.chmod(0o755)
        self._write_keyrings(ceph, folder / "etc-ceph")
        self._folder, self._ceph, self._glance_url = folder, ceph, glance_url
        self._port = processes.free_port()
        self.database = folder / "cinder.sqlite"
        self.client = cinder_client.Client(f"http://127.0.0.1:{self._port}")
        self._conf = folder / "cinder.conf"
        self._configure(backends, backup_driver)
        services = {f"{HOST}@{name}" for name in backends} | {HOST}
        super().__init__(
            "cinder",
            [
                *("unshare", "--mount", "--propagation", "private"),
                *("sh", "-c", _WITH_KEYRINGS, folder / "etc-ceph"),
                *(sys.executable, pathlib.Path(__file__).with_name("cinder_program.py")),
                *("--config-file", self._conf),
            ],
            folder,
            env={"PATH": f"{folder / 'bin'}:{sys.prefix}/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
            ready=lambda: services <= set(self.client.services_up()),
        )
        if database is None:
            manage = processes.program("cinder-manage")
            processes.run(manage, "--config-file", self._conf, "db", "sync")
        else:
            shutil.copy(database, self.database)

    def change(self, sections):
        """Change options of its cinder.conf, which hold from its next start on."""
        configuration.change(self._conf, sections)

    def _configure(self, backends, backup_driver):
        folder, ceph = self._folder, self._ceph
        etc = processes.data_file("etc")
        rootwrap = configuration.write(
            folder / "rootwrap.conf",
            {
                "DEFAULT": {
                    "filters_path": f"{etc}/cinder/rootwrap.d,{etc}/os-brick/rootwrap.d",
                    "exec_dirs": f"{sys.prefix}/bin,/usr/sbin,/usr/bin,/sbin,/bin",
                }
            },
        )
        configuration.write(
            self._conf,
            {
                "DEFAULT": {
                    "auth_strategy": "noauth",
                    "host": HOST,
                    "my_ip": "127.0.0.1",
                    "osapi_volume_listen": "127.0.0.1",
                    "osapi_volume_listen_port": self._port,
                    "osapi_volume_workers": 1,
                    "api_paste_config": etc / "cinder" / "api-paste.ini",
                    "resource_query_filters_file": etc / "cinder" / "resource_filters.json",
                    "rootwrap_config": rootwrap,
                    "state_path": folder,
                    "image_conversion_dir": folder / "conversion",
                    "log_file": folder / "cinder.log",
                    "transport_url": "fake://",
                    "glance_api_servers": self._glance_url,
                    "verify_glance_signatures": "disabled",
                    "allow_availability_zone_fallback": True,
                    "enabled_backends": ",".join(backends),
                    "scheduler_driver_init_wait_time": 1,
                    "report_interval": 5,
                    "service_down_time": 120,
                    "backup_driver_stats_polling_interval": 10,
                    "backup_driver": backup_driver,
                    "backup_ceph_conf": ceph.conf_path,
                    "backup_ceph_user": "cinder-backup",
                    "backup_ceph_pool": "backups",
                    "backup_ceph_chunk_size": 8 << 20,
                },
                "database": {
                    "connection": f"sqlite:///{self.database}",
                    # What is written need not survive the machine, and each of its services
                    # says every few seconds that it is up.
                    "sqlite_synchronous": False,
                },
                "oslo_concurrency": {"lock_path": folder / "locks"},
                "coordination": {"backend_url": f"file://{folder / 'locks'}"},
                **{
                    name: {"volume_backend_name": name, **section}
                    for name, section in backends.items()
                },
            },
        )

    @staticmethod
    def _write_keyrings(ceph, folder):
        shutil.copy(ceph.conf_path, folder / "ceph.conf")
        for user in _USERS:
            keyring = ceph.ceph("auth", "get", f"client.{user}")
            (folder / f"ceph.client.{user}.keyring").write_text(keyring)


def make_database(folder, ceph):
    """Make an empty database, to be copied for each service; return its path."""
    Cinder(folder, ceph, "", {})
    return folder / "cinder.sqlite"
