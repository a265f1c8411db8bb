# SPDX-License-Identifier: Apache-2.0
"""A store: opened once, by whoever is first, and closed for good."""

import os
import signal
import threading

import memory

from rbdstore.settings import Settings
from rbdstore.store import Store
from rbdstore.testing import faults


class Opening(faults.FaultyCluster):
    """A cluster that is slow to connect for the first one who uses it."""

    def __init__(self):
        super().__init__(memory.memory_cluster(pools=["volumes"]), faults.Plan())
        self.begun, self.go_on = threading.Event(), threading.Event()

    def open_pool(self, name, namespace=""):
        if not self.begun.is_set():
            self.begun.set()
            self.go_on.wait(60)
        return super().open_pool(name, namespace)


def test_a_child_process_does_not_wait_for_a_thread_of_its_parent():
    """It was connecting when the process was forked."""
    cluster = Opening()
    with Store(cluster, Settings(pool="volumes")) as store:
        other = threading.Thread(target=lambda: store.volumes)
        other.start()
        assert cluster.begun.wait(60)
        pid = os.fork()
        if not pid:
            status = 1
            try:
                signal.alarm(60)
                assert store.volumes.list() == []
                status = 0
            finally:
                os._exit(status)
        cluster.go_on.set()
        other.join()
        assert os.waitpid(pid, 0)[1] == 0
