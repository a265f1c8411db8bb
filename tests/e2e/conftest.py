# SPDX-License-Identifier: Apache-2.0
"""The services that the tests drive, each started at its first need, on one real Ceph."""

import contextlib
import json
import sys

import cinder_service
import glance_service
import pools
import processes
import pytest
import rados
import stores
import volume_data


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Show, where a test fails, what the services say."""
    report = yield
    if report.failed:
        report.sections += [(service.name, service.logs()) for service in processes.running]
    return report


@pytest.fixture(scope="session")
def glance_database(tmp_path_factory):
    """An empty one, to be copied: to make it takes longer than to start the service."""
    return glance_service.make_database(tmp_path_factory.mktemp("glance-database") / "service")


@pytest.fixture(scope="session")
def make_glance(tmp_path_factory, ceph, glance_database):
    """Start Glance services, which are stopped in the end."""
    with contextlib.ExitStack() as stack:

        def make(driver, *, ceph=ceph, more=None, beside=None, **options):
            folder = tmp_path_factory.mktemp(f"glance-{driver}") / "service"
            section = glance_service.options(ceph, **options)
            template = None if beside else glance_database
            service = glance_service.Glance(
                folder, driver, section, more=more, template=template, beside=beside
            )
            return stack.enter_context(service)

        yield make


@pytest.fixture(scope="session")
def glance(make_glance):
    """A Glance over this library."""
    return make_glance(glance_service.RBDSTORE)


@pytest.fixture(scope="session")
def stock_glance(make_glance):
    """A Glance over glance_store's own rbd driver, on the same pool."""
    return make_glance(glance_service.STOCK)


@pytest.fixture
def own_glance(make_glance):
    """Start services of the test's own, which it may kill or change."""
    with contextlib.ExitStack() as stack:

        def make(driver, **options):
            service = make_glance(driver, **options)
            stack.callback(service.stop)
            return service

        yield make


@pytest.fixture
def admin(ceph):
    with rados.Rados(conffile=ceph.conf_path, rados_id="admin") as client:
        yield client


@pytest.fixture
def nothing_left(admin):
    """See that a test leaves nothing behind, down to the RADOS objects."""
    yield
    try:
        pools.assert_empty(admin)
    finally:
        # So that one failure is one failure.
        for pool in admin.list_pools():
            pools.clear(admin, pool)


@pytest.fixture
def volumes(ceph):
    """This library's own, beside the services."""
    return stores.volume_store(ceph)


@pytest.fixture
def collect(ceph):
    """Run ``rbdstore gc --apply`` on a pool, as a user; return what it says."""

    def run(pool, user):
        options = {"rbd_ceph_conf": ceph.conf_path, "rbd_pool": pool, "rbd_user": user}
        words = [word for name in options for word in ("--option", f"{name}={options[name]}")]
        command = [sys.executable, "-m", "rbdstore.cli", "--driver", "rbd", *words]
        return json.loads(processes.run(*command, "gc", "--apply", "--format", "json"))

    return run


@pytest.fixture(scope="session")
def cinder_database(tmp_path_factory, ceph):
    return cinder_service.make_database(tmp_path_factory.mktemp("cinder-db") / "service", ceph)


@pytest.fixture(scope="session")
def make_cinder(request, tmp_path_factory, ceph, cinder_database):
    """Start Cinder services, which are stopped in the end.

    The Glance of this library is theirs, where it is not said which.
    """
    with contextlib.ExitStack() as stack:

        def make(backends, *, glance=None, **how):
            folder = tmp_path_factory.mktemp("cinder") / "service"
            glance = glance or request.getfixturevalue("glance")
            made = cinder_service.Cinder(
                folder, ceph, glance.client.url, backends, database=cinder_database, **how
            )
            stack.enter_context(made)
            for backend in backends:
                made.client.create_type(backend, backend)
            return made

        yield make


@pytest.fixture(scope="session")
def cinder(make_cinder, ceph):
    """One with this library's driver, ``ours``, and Cinder's own, ``stock``, on one pool.

    ``other`` is this library's, too, on another pool. Each has a volume type of its name.
    """
    ours = cinder_service.options(ceph, cinder_service.RBDSTORE)
    stock = cinder_service.options(ceph, cinder_service.STOCK)
    other = {**ours, "rbd_user": "admin", "rbd_pool": "vms"}
    return make_cinder({"ours": ours, "stock": stock, "other": other})


@pytest.fixture
def raw(ceph):
    """A client that writes and reads what instances would."""
    with stores.foreign(ceph) as found:
        yield found


@pytest.fixture
def client(request, cinder, admin, raw, nothing_left):
    yield cinder.client
    if "stock" in request.node.name:
        # It keeps volumes with clones that have gone meanwhile, here and in every cloud.
        assert all(image.endswith(".deleted") for image in raw.images("volumes"))
        pools.clear(admin, "volumes")


@pytest.fixture
def volume(client, raw, backend):
    """A volume of 1 GiB that begins with data, in the backend; the test deletes it."""
    return volume_data.filled(client, raw, backend)
