# SPDX-License-Identifier: Apache-2.0
"""The doctor's walk: one check that goes wrong itself is no end of it."""

from rbdstore.checks import Check, passed
from rbdstore.doctor.walk import Walk


def test_a_check_that_fails_itself_is_told():
    walk = Walk("volumes", "[volumes]")
    found = walk.take(Check("space", lambda: {}["quota_max_bytes"]))
    assert found.verdict == "fail"
    assert found.seen == "it could not be looked at: KeyError: 'quota_max_bytes'"
    assert walk.take(Check("pool", lambda: passed("there"), ("space",))).verdict == "skip"
    assert walk.take(Check("objects", lambda: passed("there"))).verdict == "pass"
