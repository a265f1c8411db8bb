# SPDX-License-Identifier: Apache-2.0
"""The tree of errors, and what their texts say."""

import inspect
import re

import pytest

from rbdstore import exceptions
from rbdstore.spec import ImageSpec

SPEC = ImageSpec("volumes", "volume-1")


def drawn():
    """The tree in the module's docstring, as pairs of a class and the one it stands under."""
    found, above = [], {}
    for line in exceptions.__doc__.splitlines():
        if match := re.match(r"( +)((?:[|+ -]*--)? ?)([A-Z]\w+)", line):
            column = match.start(3)
            parents = [name for at, name in sorted(above.items()) if at < column]
            above = {at: name for at, name in above.items() if at < column}
            above[column] = match[3]
            found.append((match[3], parents[-1] if parents else None))
    return found


def real():
    return [
        (name, next((base.__name__ for base in kind.__bases__ if base in kinds()), None))
        for name, kind in inspect.getmembers(exceptions, inspect.isclass)
        if kind in kinds()
    ]


def kinds():
    found = {exceptions.RbdStoreError}
    while more := {sub for kind in found for sub in kind.__subclasses__()} - found:
        found |= more
    return {kind for kind in found if kind.__module__ == exceptions.__name__}


def test_the_tree_that_is_drawn_is_the_real_one():
    assert sorted(drawn(), key=str) == sorted(real(), key=str)
    assert len(drawn()) > 20


def test_every_exception_of_the_module_is_in_the_tree():
    for name, kind in inspect.getmembers(exceptions, inspect.isclass):
        if kind.__module__ == exceptions.__name__:
            assert issubclass(kind, exceptions.RbdStoreError), name


@pytest.mark.parametrize("kind", sorted(kinds(), key=lambda kind: kind.__name__))
def test_each_has_a_docstring_and_names_its_object(kind):
    assert kind.__doc__
    error = kind("it failed", spec=SPEC)
    assert error.spec == SPEC
    assert str(error) == "volumes/volume-1: it failed"
    assert kind("it failed").spec is None
    assert str(kind("it failed")) == "it failed"


def test_wrong_arguments_are_value_errors():
    assert issubclass(exceptions.InvalidInput, ValueError)
    assert issubclass(exceptions.InvalidBody, ValueError)


def test_in_use_names_what_holds_it_and_what_to_do():
    error = exceptions.InUse(
        spec=SPEC,
        children=[ImageSpec("vms", "disk-1", namespace="tenant"), ImageSpec("vms", "disk-2")],
        snapshots=["monday", "friday"],
        watchers=["10.0.0.1:0/123"],
    )
    assert str(error) == (
        "volumes/volume-1: in use; "
        "cloned by vms/tenant/disk-1, vms/disk-2 (delete or flatten the clones first); "
        "has snapshots monday, friday (delete them first); "
        "opened by 10.0.0.1:0/123 (detach it there, or wait until it ends)"
    )
    assert error.children == (
        ImageSpec("vms", "disk-1", None, "tenant"),
        ImageSpec("vms", "disk-2"),
    )
    assert error.snapshots == ("monday", "friday")
    assert error.watchers == ("10.0.0.1:0/123",)


def test_in_use_without_a_holder():
    error = exceptions.InUse()
    assert str(error) == "in use"
    assert (error.children, error.snapshots, error.watchers) == ((), (), ())


def test_in_use_keeps_its_text_short_but_knows_all():
    error = exceptions.InUse(snapshots=[f"s{number}" for number in range(8)])
    assert str(error) == "in use; has snapshots s0, s1, s2, s3, s4 and 3 more (delete them first)"
    assert len(error.snapshots) == 8


def test_a_cluster_error_keeps_the_number():
    assert exceptions.ClusterError("failed", errno=5).errno == 5
    assert exceptions.Timeout("no answer").errno is None
