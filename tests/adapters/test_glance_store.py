# SPDX-License-Identifier: Apache-2.0
"""glance_store's own tests of drivers, as it ships them, on this one."""

import unittest

import glance_place
import glance_store
import pytest
from glance_store import location
from glance_store.tests import base as unit
from glance_store.tests.functional import base as functional
from glance_store.tests.unit import test_store_capabilities
from oslo_config import cfg

from rbdstore.adapters import glance

CONF = cfg.CONF
# In their own cloud they log in; this driver needs nothing of it.
CLOUDS = """
clouds:
  devstack-admin:
    identity_api_version: 3
    volume_api_version: 3
    region_name: none
    auth:
      auth_url: http://127.0.0.1/identity
      username: none
      password: none
      project_name: none
      user_domain_id: none
      project_domain_id: none
"""


class Functional(functional.BaseFunctionalTests):
    # Not by itself: it wants its configuration before there is a test.
    __test__ = False

    def __init__(self, name):
        super().__init__("rbdstore", name)

    def setUp(self):
        # Not theirs: that makes the driver's name the default scheme, of which they have a list.
        super(functional.Base, self).setUp()
        glance_store.create_stores()
        self.store = glance_store.backend._load_store(CONF, self.driver_name)
        self.store.configure()
        self.addCleanup(self._end)

    def _end(self):
        images = self.store._store.images
        for image in images.list():
            images.delete(image.uri)
        self.store.close()
        location.SCHEME_TO_CLS_MAP["rbd"]["store"].close()


class Capabilities(unit.StoreBaseTest, test_store_capabilities.TestStoreCapabilitiesChecking):
    __test__ = False

    def setUp(self):
        super().setUp()
        self.store = glance.Store(self.conf)


@pytest.fixture
def section(place, tmp_path, monkeypatch):
    """The one section of all stores, as it was before there were backends."""
    clouds = tmp_path / "clouds.yaml"
    clouds.write_text(CLOUDS)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(clouds))
    options = {"stores": "rbdstore", "default_store": "rbd", **glance_place.options(place)}
    lines = [f"{name} = {value}" for name, value in options.items()]
    path = tmp_path / "glance-api.conf"
    path.write_text("\n".join(["[glance_store]", *lines]))
    CONF([], project="glance", default_config_files=[str(path)])
    yield
    location.SCHEME_TO_CLS_MAP.clear()
    CONF.reset()


def cases_in(case):
    return unittest.defaultTestLoader.getTestCaseNames(case)


def run(test):
    result = unittest.TestResult()
    test.run(result)
    assert result.testsRun == 1
    assert [text for _test, text in result.errors + result.failures + result.skipped] == []


@pytest.mark.parametrize("name", cases_in(Functional))
def test_functional(section, name):
    run(Functional(name))


@pytest.mark.parametrize("name", cases_in(Capabilities))
def test_capabilities(name):
    run(Capabilities(name))


def test_there_are_some():
    assert {"test_add", "test_delete", "test_get", "test_get_size"} <= set(cases_in(Functional))
    assert cases_in(Capabilities)
