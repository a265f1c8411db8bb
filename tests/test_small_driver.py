# SPDX-License-Identifier: Apache-2.0
"""The driver in one file that the documentation walks through, proven by the suite that ships."""

import sys
import uuid
from pathlib import Path

import pytest

from rbdstore.testing import suite

sys.path.append(str(Path(__file__).parents[1] / "examples"))

import small_driver


class TestSmallDriver(suite.DriverSuite):
    pools = ("volumes", "images")

    @pytest.fixture
    def connect(self):
        name = uuid.uuid4().hex
        return lambda: small_driver.SmallDriver().open({"small_cluster": name})
