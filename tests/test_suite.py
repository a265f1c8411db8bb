# SPDX-License-Identifier: Apache-2.0
"""The example driver, proven by the suite that ships: all that its author has to write."""

import uuid

import memory
import pytest

from rbdstore.testing import suite


class TestMemoryDriver(suite.DriverSuite):
    pools = ("volumes", "images")

    @pytest.fixture
    def connect(self):
        name = uuid.uuid4().hex
        return lambda: memory.memory_cluster(name)
