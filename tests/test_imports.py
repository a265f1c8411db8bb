# SPDX-License-Identifier: Apache-2.0
"""Imports point down only; each lower library is imported in one place; nothing is mocked."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "rbdstore"

# From the top down; what stands in one line knows nothing of its neighbours.
LAYERS = (
    {"adapters", "cli"},
    {"doctor"},
    {"provision", "pictures"},
    {"__init__"},
    {"loading"},
    {"store", "opts"},
    {"metrics"},
    {"images", "volumes", "disks", "backups", "gc"},
    {"upkeep"},
    {"deriving", "sweepers"},
    {"listing", "snapshots", "connections", "limits", "trash", "views"},
    {"exchange", "backup"},
    {"clones"},
    {"names"},
    {"reclaim"},
    {"lineage", "gathering", "leases"},
    {"records", "transfer"},
    {"parallel", "sizes", "undo"},
    {"driver", "observing"},
    {"settings", "shapes", "sections", "completions", "closing", "threads", "caps"} | {"checks"},
    {"spec", "legible"},
    {"exceptions"},
)

# Beside the layers: drivers are loaded, never imported, and the tools for tests are for tests,
# and for whoever wants a cluster to try things on.
BESIDE = {"drivers", "testing"}
MAY_TEST = "cli/sandbox.py"
FOR_DRIVERS = {"driver", "shapes", "spec", "exceptions", "threads", "settings", "sections"} | {
    "caps",
    "checks",
    "completions",
    "observing",
    "parallel",
}

ONLY_IN = {
    "glance_store": ("adapters/glance.py",),
    "rados": ("drivers/rbd/", "testing/"),
    "rbd": ("drivers/rbd/", "testing/"),
    "stevedore": ("loading.py",),
    "cinder": ("adapters/cinder/", "adapters/cinder_backup"),
    "nova": ("adapters/nova.py",),
}


def layer(module):
    """Where ``module`` is, from the top. One that is nowhere wants a place in the table."""
    (number,) = (number for number, names in enumerate(LAYERS) if module in names)
    return number


def is_for_types_only(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def walk(node):
    """Every node that runs, also inside functions."""
    for child in ast.iter_child_nodes(node):
        if is_for_types_only(child):
            for other in child.orelse:
                yield from walk(other)
        else:
            yield child
            yield from walk(child)


def imported(source, package="rbdstore"):
    """The modules that ``source``, a module of ``package``, imports, by their full names.

    What is imported from a package counts as a module of it, be it one or not.
    """
    for node in walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: 1 - node.level or None]
                base = ".".join([*above, base] if base else above)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def ours(source, package="rbdstore"):
    """The same of this library only, without ``rbdstore.``."""
    for name in imported(source, package):
        if name == "rbdstore":
            yield ("__init__",)
        elif name.startswith("rbdstore."):
            parts = tuple(name.split(".")[1:])
            known = (PACKAGE / parts[0]).is_dir() or (PACKAGE / f"{parts[0]}.py").exists()
            # ``from rbdstore import load`` is of the package itself.
            yield parts if known or parts[0] in named() else ("__init__",)


def named():
    return set().union(*(names for names in LAYERS if names))


def faults(name, source):
    """What is wrong with the imports of a module, ``name`` being its path in the package."""
    top, *rest = name.removesuffix(".py").split("/")
    package = ".".join(["rbdstore", *Path(name).parts[:-1]])
    for parts in ours(source, package):
        target = parts[0]
        if top == "drivers":
            same = target == "drivers" and rest and parts[1:2] == (rest[0],)
            if target not in FOR_DRIVERS and not same:
                yield f"a driver imports {'.'.join(parts)}"
        elif target == "testing" and name == MAY_TEST:
            continue
        elif target in BESIDE and target != top:
            yield f"imports {'.'.join(parts)}"
        elif top not in BESIDE:
            here, there = layer(top), layer(target)
            if there < here:
                yield f"imports {target}, which is above it"
            elif there == here and target != top:
                yield f"imports {target}, which is beside it"
    for full in imported(source, package):
        places = ONLY_IN.get(full.split(".")[0])
        if places and not name.startswith(places):
            yield f"imports {full}"


def modules():
    return sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    name = path.relative_to(PACKAGE).as_posix()
    assert list(faults(name, path.read_text())) == []


@pytest.mark.parametrize(
    ("name", "source", "fault"),
    [
        ("exceptions.py", "from rbdstore import spec", "imports spec, which is above it"),
        ("spec.py", "from rbdstore import transfer", "imports transfer, which is above it"),
        ("lineage.py", "import rbdstore.images", "imports images, which is above it"),
        (
            "images.py",
            "from rbdstore.volumes import VolumeStore",
            "imports volumes, which is be",
        ),
        ("images.py", "from . import store", "imports store, which is above it"),
        ("images.py", "def f():\n    from rbdstore import opts", "imports opts, which is above"),
        ("volumes.py", "from rbdstore import load", "imports __init__, which is above it"),
        ("store.py", "from rbdstore.drivers.rbd import pool", "imports drivers.rbd.pool"),
        ("store.py", "from rbdstore.testing import sandbox", "imports testing.sandbox"),
        ("cli/image.py", "from rbdstore.testing import sandbox", "imports testing.sandbox"),
        ("disks.py", "import rbdstore.backups", "imports backups, which is beside it"),
        ("store.py", "import rados", "imports rados"),
        ("opts.py", "import stevedore.driver", "imports stevedore.driver"),
        ("opts.py", "from stevedore import driver", "imports stevedore.driver"),
        ("drivers/rbd/pool.py", "from rbdstore import leases", "a driver imports leases"),
        ("drivers/rbd/pool.py", "from ... import leases", "a driver imports leases"),
        ("drivers/rbd/pool.py", "from rbdstore.drivers.file import x", "a driver imports drivers"),
        ("drivers/file/pool.py", "import rbd", "imports rbd"),
        ("adapters/glance.py", "import rados", "imports rados"),
        ("adapters/nova.py", "import glance_store", "imports glance_store"),
        ("adapters/nova.py", "from cinder import objects", "imports cinder"),
    ],
)
def test_what_points_up_is_found(name, source, fault):
    (found,) = faults(name, source)
    assert found.startswith(fault)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("exceptions.py", "if typing.TYPE_CHECKING:\n    from rbdstore.spec import ImageSpec"),
        ("driver.py", "from rbdstore import exceptions\nfrom rbdstore.spec import ImageSpec"),
        ("images.py", "from rbdstore import driver, spec\nfrom rbdstore.names import claims"),
        ("names/claims.py", "from rbdstore import leases, reclaim"),
        ("__init__.py", "from rbdstore.loading import load"),
        ("adapters/glance.py", "import rbdstore\nfrom rbdstore import exceptions, connect"),
        ("adapters/glance.py", "from glance_store import driver\nfrom rbdstore import opts"),
        ("adapters/cinder/base.py", "from cinder.volume import driver\nimport rbdstore"),
        ("cli/sandbox.py", "from rbdstore.testing import standing"),
        ("drivers/rbd/pool.py", "import rbd\nfrom rbdstore.drivers.rbd import lease"),
        ("drivers/rbd/pool.py", "from . import lease\nfrom ... import exceptions"),
        ("testing/suite.py", "import rados\nfrom rbdstore import driver, transfer"),
    ],
)
def test_what_points_down_is_not(name, source):
    assert list(faults(name, source)) == []


@pytest.mark.parametrize(
    "path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_nothing_is_mocked(path):
    """A mock of librbd agrees with whoever wrote it. Tests run on Ceph, or on a whole driver."""
    names = set(imported(path.read_text()))
    assert not {name for name in names if name.startswith(("unittest.mock", "mock."))}
