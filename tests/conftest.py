# SPDX-License-Identifier: Apache-2.0
"""What all tests share: a real Ceph for those that need one, which in CI is all of those.

A test that needs Ceph may not be skipped in CI: what was not run was not shown.
"""

import os
import signal
from pathlib import Path

import pytest

from rbdstore.testing.differences import pytest_assertrepr_compare  # noqa: F401 (a hook)

# No key is logged or told by any test.
pytest_plugins = ["secrecy"]

FUNCTIONAL = Path(__file__).parent / "functional"


def pytest_configure():
    # A shell has what it starts in the background ignore Ctrl-C, and so its children.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    parser.addoption(
        "--driver",
        choices=("file", "rbd"),
        default="file",
        help="the driver under the tests of the services; rbd starts a real Ceph",
    )


def pytest_collection_modifyitems(items):
    """Begin with the files of the longest tests, which have time limits of their own.

    Otherwise one worker would be at them when the others are done.
    """
    longest = {item.path for item in items if item.get_closest_marker("timeout")}
    items.sort(key=lambda item: item.path not in longest)


@pytest.fixture(scope="session")
def ceph():
    """The one real Ceph of all tests that do not start their own."""
    from rbdstore.testing.sandbox import CephSandbox

    # A client that a test kills is forgotten after five seconds instead of thirty.
    with CephSandbox(client_watch_timeout=5) as running:
        yield running


def _fail_if_skipped(report, path):
    # An expected failure is reported as skipped too; it did run.
    if (
        os.environ.get("CI")
        and report.skipped
        and not hasattr(report, "wasxfail")
        and path.is_relative_to(FUNCTIONAL)
    ):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"A functional test may not be skipped in CI. {reason}"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    report = yield
    _fail_if_skipped(report, item.path)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(collector):
    report = yield
    _fail_if_skipped(report, collector.path)
    return report


def pytest_terminal_summary(terminalreporter):
    """Tell why a test was tried again: what passes then is a fault all the same."""
    for report in terminalreporter.stats.get("rerun", ()):
        terminalreporter.write_sep("_", f"tried again after {report.when}: {report.nodeid}")
        terminalreporter.write_line(report.longreprtext)
