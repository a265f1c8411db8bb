# SPDX-License-Identifier: Apache-2.0
"""Glance's API service, as it is installed from the Python registry, over a store on a sandbox.

There is no keystone: every caller is an administrator. What an operator's glance-api.conf says of
the store is the same for both drivers, but for the name in ``enabled_backends``.
"""

import shutil

import configuration
import glance_client
import processes

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
    :ivar driver: the name of its store's driver
    """

    def __init__(self, folder, driver, section, *, database=None, default=None):
        """Describe one in ``folder``, which is made.

        :param driver: of the store ``ceph``
        :param section: that store's options
        :param database: one to begin with, which is copied; None: an empty one is made
        :param default: options of the section ``[DEFAULT]``, to be added
        """
        self.driver = driver
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
                *("--timeout", "600", "--graceful-timeout", "10", "--no-control-socket"),
                "glance.wsgi.api:application",
            ],
            folder,
            env={"OS_GLANCE_CONFIG_DIR": str(self._etc), "PYTHONWARNINGS": "ignore"},
            ready=self.client.answers,
        )
        self._configure(section, default or {})
        if database is None:
            _make_database(self._etc)
        else:
            shutil.copy(database, folder / "glance.sqlite")

    def _configure(self, section, default):
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
                    "enabled_backends": f"{BACKEND}:{self.driver}",
                    "show_image_direct_url": True,
                    "show_multiple_locations": True,
                    "log_file": folder / "glance-api.log",
                    **default,
                },
                "paste_deploy": {"config_file": paste},
                "oslo_policy": {"policy_file": policy},
                "database": {"connection": f"sqlite:///{folder / 'glance.sqlite'}"},
                "glance_store": {"default_backend": BACKEND},
                BACKEND: section,
                "os_glance_staging_store": {"filesystem_store_datadir": folder / "staging"},
                "os_glance_tasks_store": {"filesystem_store_datadir": folder / "tasks"},
                "oslo_concurrency": {"lock_path": folder},
            },
        )


def _make_database(etc):
    processes.run(
        processes.program("glance-manage"), "--config-file", etc / "glance-api.conf", "db_sync"
    )


def make_database(folder):
    """Make an empty database, to be copied for each service; return its path."""
    # What its store is makes no difference.
    Glance(folder, STOCK, {})
    return folder / "glance.sqlite"
