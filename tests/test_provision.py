# SPDX-License-Identifier: Apache-2.0
"""What an operator may describe, and how the files are written: that needs no cluster."""

import os
import stat

import pytest
import yaml

from rbdstore import exceptions, loading
from rbdstore.provision import description, files, roles
from rbdstore.provision.description import Description, Pool
from rbdstore.provision.owners import Owner


def read(text):
    return Description.read(yaml.safe_load(text) or {})


def pools(found):
    return {kind: [pool.name for pool in some] for kind, some in found.pools.items()}


def test_nothing_said_is_the_usual():
    found = read("")
    assert found.roles == ("glance", "cinder", "cinder-backup", "nova")
    assert pools(found) == {kind: [kind] for kind in roles.KINDS}
    assert found.distinct_pools == [Pool(kind) for kind in roles.KINDS]
    assert found.output_dir == "/etc/rbdstore"


def test_the_description_in_the_documentation_of_the_module():
    (example,) = [
        text for text in description.__doc__.split("\n\n") if text.startswith("    roles:")
    ]
    # Whether there are such users depends on the host.
    said = yaml.safe_load(
        example.replace("glance:glance", "root:root").replace(" cinder}", " root}")
    )
    with pytest.raises(exceptions.InvalidInput, match="cinder-backup works in backups"):
        Description.read(said)
    found = Description.read({**said, "roles": ["glance", "cinder", "nova"]})
    assert found.pools["volumes"] == (
        Pool("ssd", replicas=3, pg_autoscale=True),
        Pool("hdd", replicas=2, pg_num=64),
    )
    assert found.pools["backups"] == ()
    assert set(found.owners) == {"glance", "cinder"}


@pytest.mark.parametrize(
    ("role", "kinds"),
    [
        ("glance", {"images"}),
        ("cinder", {"volumes", "images"}),
        ("nova", {"vms", "images"}),
        ("cinder-backup", {"backups", "volumes", "images"}),
    ],
)
def test_a_role_brings_the_pools_it_works_with(role, kinds):
    assert set(Description.read({"roles": [role]}).pools) == kinds


def test_nobody_has_a_right_in_a_pool_that_is_not_asked_for():
    found = Description.read({"roles": ["glance"]})
    assert roles.role("glance", found.pool_names).osd == ("profile rbd pool=images",)
    found = Description.read({"roles": ["cinder"], "pools": {"images": []}})
    assert roles.role("cinder", found.pool_names).osd == ("profile rbd pool=volumes",)


def test_a_pool_of_two_kinds_is_one():
    found = read("pools: {images: rbd, volumes: rbd, vms: rbd, backups: rbd}")
    assert found.distinct_pools == [Pool("rbd")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("role: glance", "there is no 'role'; there are roles, pools"),
        ("[glance]", "is no mapping"),
        ("roles: [glans]", "there is no role 'glans'; there are glance"),
        ("roles: [{glance: x}]", "there is no role {'glance': 'x'}"),
        ("roles: []", "name at least one of"),
        ("pools: {disks: vms}", "there is no 'disks'; there are images"),
        ("pools: {volumes: []}", "cinder works in volumes, and of those there is to be none"),
        ("pools: {volumes: 'a b'}", "'a b' is no name of a pool"),
        ("pools: {volumes: ../x}", "is no name of a pool"),
        ("pools: {volumes: {size: 3}}", "there is no 'size'; there are name, replicas"),
        ("pools: {volumes: {name: v, type: erasure}}", "a pool of images is replicated"),
        ("pools: {volumes: {name: v, erasure_code_profile: p}}", "option rbd_data_pool"),
        ("replicas: 0", "replicas is a number from 1 to 10, not 0"),
        ("replicas: true", "replicas is a number"),
        ("pg_num: many", "pg_num is a number"),
        ("{pg_num: 8, pg_autoscale: true}", "exclude each other"),
        ("pg_autoscale: 8", "pg_autoscale is true or false"),
        ("owner: no-such-user", "there is no user 'no-such-user' on this host"),
        ("owner: root:no-such-group", "there is no group 'no-such-group'"),
        ("owner: {glans: root}", "owner: there is no 'glans'"),
        ("secret_uuid: {cinder: '17'}", "'17', of cinder, is no uuid"),
        ("secret_uuid: {glance: '17'}", "there is no 'glance'; there are cinder, nova"),
        (
            "secret_uuid: {cinder: 457eb676-33da-42ec-9a8c-9293d545c337, "
            "nova: 457eb676-33da-42ec-9a8c-9293d545c337}",
            "two keys cannot have one uuid",
        ),
        ("output_dir: /tmp/a b", "take a path of letters"),
        ("output_dir: /tmp/$HOME", "take a path of letters"),
        ("output_dir: 17", "take a path of letters"),
    ],
)
def test_what_cannot_be_meant_is_told(text, said):
    with pytest.raises(exceptions.InvalidInput) as raised:
        read(text)
    assert said in str(raised.value)


def test_only_root_gives_files_away():
    before = os.geteuid()
    try:
        if not before:
            os.seteuid(65534)
        with pytest.raises(exceptions.InvalidInput, match="only root can give a file to 'root'"):
            Owner.find("root")
    finally:
        os.seteuid(before)


# The files


@pytest.fixture
def wide_umask():
    before = os.umask(0)
    yield
    os.umask(before)


def test_a_secret_is_nobody_elses_from_the_beginning(tmp_path, wide_umask):
    seen = []

    def text(keys):
        (draft,) = tmp_path.iterdir()
        seen.append(stat.S_IMODE(draft.stat().st_mode))
        return keys["glance"]

    file = files.File(str(tmp_path / "keyring"), text, files.SECRET)
    files.write(file, {"glance": "of glance"})
    assert seen == [0o600]
    (written,) = tmp_path.iterdir()
    assert written.read_text() == "of glance"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600


def test_what_is_no_secret_can_be_read_whatever_the_umask(tmp_path):
    before = os.umask(0o077)
    try:
        files.write(files.File(str(tmp_path / "new" / "newer" / "conf"), lambda _: "text"), {})
    finally:
        os.umask(before)
    modes = [
        stat.S_IMODE((tmp_path / path).stat().st_mode)
        for path in ("new", "new/newer", "new/newer/conf")
    ]
    assert modes == [0o755, 0o755, 0o644]


def test_nothing_is_left_of_a_file_that_cannot_be_written(tmp_path):
    (tmp_path / "keyring").write_text("before")
    file = files.File(str(tmp_path / "keyring"), lambda keys: keys["glance"], files.SECRET)
    with pytest.raises(KeyError):
        files.write(file, {})
    (left,) = tmp_path.iterdir()
    assert left.read_text() == "before"


def outcome(file, keys=()):
    step, differences = files.look(file, dict(keys))
    return step.outcome, tuple(differences)


def test_a_file_that_is_there_is_looked_at(tmp_path):
    path = tmp_path / "keyring"
    file = files.File(str(path), lambda keys: keys["glance"], files.SECRET)
    assert outcome(file) == ("created", ())
    path.write_text("key")
    path.chmod(0o600)
    assert outcome(file, {"glance": "key"}.items()) == ("unchanged", ())
    # Of a user that there is not yet.
    assert outcome(file) == ("replaced", ("other content",))
    assert outcome(file, {"glance": "other"}.items()) == ("replaced", ("other content",))
    path.chmod(0o640)
    assert outcome(file, {"glance": "key"}.items()) == ("replaced", ("mode 0640",))


@pytest.mark.parametrize("make", ["folder", "pipe", "link"])
def test_what_is_no_file_is_not_taken_for_one(tmp_path, make):
    path = tmp_path / "keyring"
    {
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "link": lambda: path.symlink_to("elsewhere"),
    }[make]()
    file = files.File(str(path), lambda _: "", files.SECRET)
    if make == "pipe":
        assert outcome(file)[0] == "replaced"
    else:
        with pytest.raises(OSError, match=r"directory|symbolic"):
            files.look(file, {})


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    assert files.check_folder(str(tmp_path / "new" / "newer")) is None
    assert "file is no folder" in files.check_folder(str(tmp_path / "file" / "new"))


def test_a_driver_without_a_cluster_to_set_up():
    with pytest.raises(exceptions.NotSupported, match="no cluster that would want to be set up"):
        loading.administer("file", file_store_datadir="demo")
