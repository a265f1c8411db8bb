# SPDX-License-Identifier: Apache-2.0
"""Cinder's four services in one process, where its own in-process bus can stand in for a broker.

``python cinder_program.py --config-file CINDER_CONF``. What is done here is what the programs
``cinder-volume``, ``cinder-backup``, ``cinder-scheduler`` and ``cinder-api`` do.
"""

# Everything is patched before it is imported, as in those programs.
# ruff: noqa: E402
from cinder import monkey_patch

monkey_patch.patch()

import os
import shlex
import signal
import sys
import time
import warnings

warnings.filterwarnings("ignore")

import os_brick
from cinder import coordination, objects, rpc, service, utils, version
from cinder.cmd import backup as backup_program  # noqa: F401 (for its options)
from cinder.cmd import volume as volume_program
from cinder.common import config, constants
from oslo_config import cfg
from oslo_log import log
from oslo_privsep import priv_context

CONF = cfg.CONF


class OneOfMany(service.Service):
    """A service that says for itself that it is up.

    Its class keeps the id of the record that it says so in, for one service a process has.
    """

    def report_state(self):
        service.Service.service_id = self.origin_service_id
        super().report_state()


def set_up(argv):
    objects.register_all()
    CONF(argv, project="cinder", version=version.version_string())
    config.set_middleware_defaults()
    log.setup(CONF, "cinder")
    priv_context.init(root_helper=shlex.split(utils.get_root_helper()))
    os_brick.setup(CONF)
    rpc.init(CONF)


def start():
    made = []
    for backend in CONF.enabled_backends:
        CONF.register_opt(volume_program.host_opt, group=backend)
        made.append(
            OneOfMany.create(
                host=f"{CONF.host}@{backend}",
                service_name=backend,
                binary=constants.VOLUME_BINARY,
                coordination=True,
            )
        )
    made.append(
        OneOfMany.create(binary=constants.BACKUP_BINARY, coordination=True, service_name="backup")
    )
    # Last, because it asks the others what they can do, and then not again for a minute.
    made.append(OneOfMany.create(binary=constants.SCHEDULER_BINARY))
    for each in made:
        each.start()
    coordination.COORDINATOR.start()
    service.WSGIService("osapi_volume").start()


def main():
    set_up(sys.argv[1:])
    # There is nothing to be finished: what is in the middle of something is in the tests' hands.
    signal.signal(signal.SIGTERM, lambda *_arguments: os._exit(0))
    start()
    while True:
        time.sleep(60)


main()
