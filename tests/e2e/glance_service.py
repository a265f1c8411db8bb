# SPDX-License-Identifier: Apache-2.0
"""Glance's API service, as it is installed from the Python registry, over a store on a sandbox.

There is no keystone: every caller is an administrator. What an operator's glance-api.conf says of
the store is the same for both drivers, but for the name in ``enabled_backends``.
"""

import shutil

import configuration
import glance_client
import processes
import sqlite_turns

BACKEND = "ceph"
RBDSTORE, STOCK = "rbdstore", "rbd"


def options(ceph, **more):
    """The section of a store, as operators of the stock driver have it."""
    return {
        "rbd_store_ceph_conf": ceph.conf_path,
        "rbd_store_user": "glance",
        "rbd_store_pool": "images",
        "rbd_store_chunk_size": 8,
        **more,
    }


class Glance(processes.Service):
    """A glance-api.

    :ivar client: what drives it (:class:`glance_client.Client`)
    :ivar database: the path of its database
    """

    def __init__(self, folder, driver, section, *, more=None, template=None, beside=None):
        """Describe one in ``folder``, which is made.

        :param driver: of the store ``ceph``
        :param section: that store's options
        :param more: further stores by name, each a driver and a section
        :param template: a database to begin with, which is copied; None: an empty one is made
        :param beside: another service, whose database it has, too
        """
        self.database = beside.database if beside else folder / "glance.sqlite"
        self._etc = folder / "etc"
        self._etc.mkdir(parents=True)
        port = processes.free_port()
        self.client = glance_client.Client(f"http://127.0.0.1:{port}")
        super().__init__(
            "glance-api",
            [
                *(processes.program("gunicorn"), "--bind", f"127.0.0.1:{port}"),
                # One process: whether its threads get along is seen then.
                *("--workers", "1", "--worker-class", "gthread", "--threads", "16"),
                *("--config", sqlite_turns.__file__),
                *("--timeout", "600", "--graceful-timeout", "10", "--no-control-socket"),
                "glance.wsgi.api:application",
            ],
            folder,
            env={"OS_GLANCE_CONFIG_DIR": str(self._etc), "PYTHONWARNINGS": "ignore"},
            ready=self.client.answers,
        )
        self._configure({BACKEND: (driver, section), **(more or {})})
        if template:
            shutil.copy(template, self.database)
        elif not beside:
            manage = processes.program("glance-manage")
            processes.run(manage, "--config-file", self._etc / "glance-api.conf", "db_sync")

    def change(self, sections):
        """Change options of its glance-api.conf, which hold from its next start on."""
        configuration.change(self._etc / "glance-api.conf", sections)

    def _configure(self, stores):
        folder = self.folder
        for name in ("staging", "tasks"):
            (folder / name).mkdir()
        paste = shutil.copy(
            processes.data_file("etc", "glance", "glance-api-paste.ini"), self._etc
        )
        # No flavor of the pipeline gives a caller without keystone any role, and every default
        # policy asks for one through this rule.
        policy = self._etc / "policy.yaml"
        policy.write_text('"context_is_admin": "@"\n')
        configuration.write(
            self._etc / "glance-api.conf",
            {
                "DEFAULT": {
                    "enabled_backends": ",".join(
                        f"{name}:{driver}" for name, (driver, _section) in stores.items()
                    ),
                    "show_image_direct_url": True,
                    "show_multiple_locations": True,
                    "log_file": folder / "glance-api.log",
                },
                "paste_deploy": {"config_file": paste},
                "oslo_policy": {"policy_file": policy},
                "database": {
                    "connection": sqlite_turns.url(self.database),
                    # What is written need not survive the machine.
                    "sqlite_synchronous": False,
                },
                "glance_store": {"default_backend": BACKEND},
                **{name: values for name, (_driver, values) in stores.items()},
                "os_glance_staging_store": {"filesystem_store_datadir": folder / "staging"},
                "os_glance_tasks_store": {"filesystem_store_datadir": folder / "tasks"},
                "oslo_concurrency": {"lock_path": folder},
            },
        )


def make_database(folder):
    """Make an empty database, to be copied for each service; return its path."""
    # What its store is makes no difference.
    return Glance(folder, STOCK, {}).database
