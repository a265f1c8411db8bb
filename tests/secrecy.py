# SPDX-License-Identifier: Apache-2.0
"""No key and no password is ever told: a plugin of pytest that fails the test in which one is.

It looks at every record that is logged by anybody, debug lines and tracebacks too, and at the text
of every error of ours that is made, raised or not. A key of Ceph's is known by its shape, so that
those of every sandbox and of every user that a test makes are meant.
"""

import logging
import re

import pytest

from rbdstore import exceptions

# Base64 of a type (1: AES), a time, the secret's length (16) and the secret: 28 bytes.
KEY = re.compile(r"AQ[A-Za-z0-9+/]{36}==")
# Those that stand in the tests' locations and configurations.
PASSWORDS = re.compile(r":secret@|passphrase-of-the-tests")

_told: list[str] = []


def look(text, where):
    """Note where something secret was told, but not what."""
    for pattern in (KEY, PASSWORDS):
        if pattern.search(text):
            _told.append(f"{where}: {pattern.sub('***', text)}")


class Watched(logging.LogRecord):
    # Not a handler: oslo.log removes those that it has not made itself.
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        where = f"logged by {self.name}"
        look(self.getMessage(), where)
        if self.exc_info:
            look(logging.Formatter().formatException(self.exc_info), where)


def _watch(self, message, **options):
    _made(self, message, **options)
    look(str(self), type(self).__name__)


_made = exceptions.RbdStoreError.__init__


def pytest_configure():
    logging.setLogRecordFactory(Watched)
    exceptions.RbdStoreError.__init__ = _watch


def pytest_unconfigure():
    logging.setLogRecordFactory(logging.LogRecord)
    exceptions.RbdStoreError.__init__ = _made


def check():
    """Fail if something was told since the last time."""
    told = _told[:]
    _told.clear()
    assert not told, told


@pytest.fixture(autouse=True)
def _nothing_is_told():
    yield
    check()


def pytest_sessionfinish(session):
    # What is logged when the last fixtures end belongs to no test.
    if _told:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        raise pytest.UsageError(*_told)
