# SPDX-License-Identifier: Apache-2.0
"""The embedded driver, proven by the suite that ships."""

import filestore
import pytest
import samples

from rbdstore.testing import suite


class OnFile:
    pools = ("volumes", "images")
    features = None

    @pytest.fixture
    def connect(self, tmp_path):
        return lambda: filestore.connect(tmp_path, file_store_features=self.features)


class TestNewFeatures(OnFile, suite.DriverSuite):
    pass


class TestOldFeatures(OnFile, suite.DriverSuite):
    features = samples.OLD_FEATURES
