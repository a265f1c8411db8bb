# SPDX-License-Identifier: Apache-2.0
"""In CI a test that needs Ceph may not be skipped: what was not run was not shown."""

import os
from pathlib import Path

import pytest

FUNCTIONAL = Path(__file__).parent / "functional"


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
