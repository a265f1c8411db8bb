# SPDX-License-Identifier: Apache-2.0
"""What the README tells people to type exists."""

import ast
import inspect
import os
import re

import filestore
import readme

from rbdstore import exceptions, images, volumes

STORES = {"images": images.ImageStore, "volumes": volumes.VolumeStore}


def signature_holds(method, call):
    """See that a call in the README could be made, and fail with the method's name if not."""
    inspect.signature(method).bind(
        None, *call.args, **{keyword.arg: keyword.value for keyword in call.keywords}
    )


def test_commands_can_be_run():
    commands = set(re.findall(r"\./(\S+\.sh)", readme.TEXT))
    assert commands == {"quickstart.sh", "runtests.sh"}
    for command in commands:
        assert os.access(readme.ROOT / command, os.X_OK), command


def test_named_files_exist():
    for name in re.findall(r"``([\w./-]+\.(?:txt|sample)|[A-Z]+)``", readme.TEXT):
        assert (readme.ROOT / name).is_file(), name


def test_named_test_environments_exist():
    tox = (readme.ROOT / "tox.ini").read_text()
    for name in re.findall(r"\./runtests\.sh (\w+)", readme.TEXT):
        assert f"[testenv:{name}]" in tox


def test_calls_fit_the_interface():
    calls = [node for node in ast.walk(ast.parse(readme.on_ceph())) if isinstance(node, ast.Call)]
    seen = set()
    for call in calls:
        match call.func:
            case ast.Attribute(value=ast.Name(id=store), attr=verb) if store in STORES:
                signature_holds(getattr(STORES[store], verb), call)
                seen.add(f"{store}.{verb}")
    assert {"images.add", "volumes.clone", "volumes.create_cloned_volume"} <= seen


def test_example_without_ceph_works(tmp_path, monkeypatch, capsys):
    """In the folder that the README says, from which all of it is gone in the end."""
    monkeypatch.chdir(tmp_path)
    exec(readme.on_files(), {})
    assert re.match(r"Volume\(name='volume-1', .*depth=1, .*snapshot-1", capsys.readouterr().out)
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
    cluster = filestore.connect(tmp_path / "demo")
    assert cluster.leftovers() == []
    cluster.close()


def test_example_without_ceph_does_what_it_shows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # It ends with deletions: look before them.
    use, _delete = readme.on_files().split("\n\n    store.volumes.delete_snapshot")
    exec(use, {})
    pool = filestore.connect(tmp_path / "demo").open_pool("rbd")
    with pool.open("volume-1") as volume:
        assert volume.size() == 20 << 30
        assert volume.read(0, 24) == b"all the bytes of a disk\0"
    pool.cluster.close()


def test_named_errors_exist():
    named = re.findall(r"``rbdstore\.exceptions\.(\w+)``", readme.TEXT)
    assert named
    for name in named:
        assert issubclass(getattr(exceptions, name), exceptions.RbdStoreError)
