# SPDX-License-Identifier: Apache-2.0
"""``rbdstore provision`` on an empty cluster, and on ones that others have set up before.

What it made is used with the files that it wrote, and nothing else of the sandbox's.
"""

import configparser
import contextlib
import json
import os
import re
import shutil
import stat
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import commands
import pytest
import samples
import secrecy
import yaml

import rbdstore
from rbdstore import exceptions, loading
from rbdstore.provision import roles
from rbdstore.testing.sandbox import CephSandbox

MiB = samples.MiB
DATA = samples.pattern("provision", MiB)
INSTANCE = "9c6b1a52-3a0f-4c52-8d5c-6d2f7f4d3e10"
DISK = f"{INSTANCE}_disk"
USERS = ("glance", "cinder", "cinder-backup", "nova")
SECRETS = {f"ceph.client.{user}.keyring" for user in USERS} | {
    "ceph.client.cinder.key",
    "ceph.client.nova.key",
}


class Site:
    """A cluster, and the folder that the files go to."""

    def __init__(self, sandbox, admin, folder):
        self.sandbox = sandbox
        # The same without the ceph command, which takes a second on a busy machine.
        self.ceph = admin.command
        self.folder = folder
        self.base = ("--ceph-conf", sandbox.conf_path, "--output-dir", str(folder))

    def run(self, *arguments):
        ended = commands.run("provision", *self.base, *arguments)
        for text in (ended.out, ended.err):
            assert not secrecy.KEY.search(text)
        return ended

    def outcomes(self, *arguments):
        """What has become of each thing, and what is noted of it."""
        ended = self.run(*arguments, "--json")
        assert (ended.status, ended.err) == (0, "")
        rows = json.loads(ended.out)
        return {Path(row["name"]).name: (row["outcome"], *row["notes"]) for row in rows}

    def refused(self, *arguments):
        """The line that it fails with; and that nothing was made then."""
        before = self.state()
        ended = self.run(*arguments)
        assert (ended.status, ended.out) == (1, "")
        assert self.state() == before
        return ended.err

    def users(self):
        """Capabilities and keys, by user."""
        found = self.ceph("auth ls")["auth_dump"]
        return {
            user["entity"].removeprefix("client."): (user["caps"], user["key"])
            for user in found
            if user["entity"].startswith("client.")
        }

    def pools(self):
        return {pool["pool_name"]: pool for pool in self.ceph("osd dump")["pools"]}

    def files(self):
        if not self.folder.exists():
            return {}
        return {path.name: (path.read_text(), path.stat()) for path in self.folder.iterdir()}

    def state(self):
        pools = {
            name: (pool["size"], pool["pg_num_target"], pool["application_metadata"])
            for name, pool in self.pools().items()
        }
        return pools, self.users(), self.files()

    def conf(self, name):
        parser = configparser.ConfigParser(interpolation=None)
        parser.read(self.folder / name)
        return parser

    def load(self, backend):
        return rbdstore.load(str(self.folder / "rbdstore.conf"), backend)

    def connect(self, user, pool):
        """A pool as a user who is not the usual one there."""
        conf = str(self.folder / "ceph.clients.conf")
        return rbdstore.connect("rbd", rbd_pool=pool, rbd_user=user, rbd_ceph_conf=conf)


@pytest.fixture(scope="module")
def sandbox():
    with CephSandbox(pools=(), roles=()) as running:
        yield running


@pytest.fixture(scope="module")
def admin(sandbox):
    with loading.administer("rbd", rbd_ceph_conf=sandbox.conf_path) as connected:
        yield connected


@pytest.fixture
def empty(sandbox, admin, tmp_path, monkeypatch):
    """A cluster that has neither pools nor users but the administrator."""
    for name in ("CEPH_CONF", "CEPH_KEYRING", "CEPH_ARGS"):
        monkeypatch.delenv(name, raising=False)
    site = Site(sandbox, admin, tmp_path / "files")
    for name in site.pools():
        site.ceph("osd pool rm", pool=name, pool2=name, yes_i_really_really_mean_it=True)
    for user in site.users():
        if user != "admin":
            site.ceph("auth rm", entity=f"client.{user}")
    return site


@pytest.fixture
def site(sandbox, admin, tmp_path, monkeypatch):
    """A cluster that was set up, and the files, in a new folder."""
    for name in ("CEPH_CONF", "CEPH_KEYRING", "CEPH_ARGS"):
        monkeypatch.delenv(name, raising=False)
    site = Site(sandbox, admin, tmp_path / "files")
    site.outcomes("--lower-caps")
    return site


@contextlib.contextmanager
def refused():
    with pytest.raises(exceptions.PermissionDenied):
        yield


# From nothing


def test_a_dry_run_does_nothing_and_its_lines_do_all(empty):
    before = empty.state()
    assert before[0] == {}
    arguments = ("--role", "glance", "--role", "cinder", "--replicas", "1", "--pg-num", "4")
    ended = empty.run(*arguments, "--dry-run")
    assert (ended.status, ended.err) == (0, "")
    assert empty.state() == before
    assert not empty.folder.exists()
    lines = ended.out.splitlines()
    assert all(line.startswith(("ceph ", "rbd pool init ", "# ")) for line in lines)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", ended.out],
        env=empty.sandbox.env(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert not secrecy.KEY.search(done.stdout + done.stderr)
    # Everything is there as if it had been made here.
    found = empty.outcomes(*arguments)
    assert {name for name, outcome in found.items() if outcome == ("unchanged",)} == {
        *("images", "volumes", "client.glance", "client.cinder")
    }
    assert {pool["pg_num_target"] for pool in empty.pools().values()} == {4}
    again = empty.run(*arguments, "--dry-run")
    assert (again.status, again.out) == (0, "# Nothing to change: all of it is there.\n")


def test_everything_is_made_and_the_second_time_nothing(empty):
    found = empty.outcomes("--pg-autoscale")
    assert set(found) == {*roles.KINDS, *(f"client.{user}" for user in USERS), *empty.files()}
    assert {outcome for outcome, *_ in found.values()} == {"created"}
    for pool in empty.pools().values():
        assert (list(pool["application_metadata"]), pool["pg_autoscale_mode"]) == (["rbd"], "on")
    caps = {user: caps for user, (caps, _) in empty.users().items() if user != "admin"}
    assert caps == {user: roles.role(user).caps for user in USERS}
    made = empty.state()
    assert set(empty.outcomes().values()) == {("unchanged",)}
    ended = empty.run()
    assert ended.out.endswith("\nNothing to change: all of it is there.\n")
    assert empty.state() == made


def test_by_a_description_and_by_options(empty):
    described = empty.folder.parent / "site.yaml"
    described.write_text(
        yaml.safe_dump(
            {
                "roles": ["glance", "cinder"],
                "pools": {"volumes": ["ssd", {"name": "hdd", "pg_num": 2}], "images": "pictures"},
                "replicas": 1,
                "secret_uuid": {"cinder": "457eb676-33da-42ec-9a8c-9293d545c337"},
            }
        )
    )
    # Only root can give files away.
    owner, uid = ("nobody:nogroup", 65534) if not os.geteuid() else (str(os.geteuid()),) * 2
    empty.outcomes(str(described), "--pool", "images=photos", "--owner", f"cinder={owner}")
    assert set(empty.pools()) == {"photos", "ssd", "hdd"}
    assert empty.pools()["hdd"]["pg_num_target"] == 2
    caps, _ = empty.users()["cinder"]
    assert caps["osd"] == (
        "profile rbd pool=ssd, profile rbd pool=hdd, profile rbd-read-only pool=photos"
    )
    assert {
        status.st_uid for name, (_, status) in empty.files().items() if "cinder.key" in name
    } == {int(uid)}
    with empty.load("volumes-hdd") as store:
        store.volumes.create("volume-1", MiB)
        assert store.volumes.connection_info("volume-1").secret_uuid.startswith("457eb676")
        store.volumes.delete("volume-1")


# What it made, used


def test_each_service_does_its_work_with_the_files_alone(site):
    with contextlib.ExitStack() as stack:
        images, volumes, disks, backups = (
            stack.enter_context(site.load(name))
            for name in ("images", "volumes", "vms", "backups")
        )
        image = images.images.add("image-1", DATA)
        volumes.volumes.clone("volume-1", image.uri)
        volumes.volumes.create_snapshot("volume-1", "snapshot-1")
        volumes.volumes.create_cloned_volume("volume-2", "volume-1")
        disks.disks.clone(DISK, [image.uri], MiB)
        shot = disks.disks.snapshot_to_image(DISK, images.images, "image-2")
        # The service of backups reads the volumes as itself.
        source = stack.enter_context(site.connect("cinder-backup", "volumes"))
        backups.backups.create(source.volumes, "volume-1", "backup-1")
        backups.backups.restore("backup-1", source.volumes, "volume-3")
        with volumes.volumes.reading("volume-3") as data:
            assert b"".join(data) == DATA
        assert b"".join(images.images.get(shot.uri)) == DATA
        with pytest.raises(exceptions.InUse, match="volume-1"):
            images.images.delete(image.uri)
        backups.backups.delete("backup-1", volumes=source.volumes)
        disks.disks.delete(DISK)
        volumes.volumes.delete_snapshot("volume-1", "snapshot-1")
        for name in ("volume-1", "volume-2", "volume-3"):
            volumes.volumes.delete(name)
        for uri in (image.uri, shot.uri):
            images.images.delete(uri)


def test_the_doctor_finds_nothing_wrong(site):
    conf = str(site.folder / "rbdstore.conf")
    ended = commands.run("--config-file", conf, "doctor", "--read-only")
    assert (ended.status, ended.err) == (0, ""), ended.out


def test_nobody_does_another_ones_work(site):
    with site.load("volumes") as cinder, site.load("images") as glance:
        cinder.volumes.create("volume-1", MiB)
        image = glance.images.add("image-1", DATA)
    for user, pool in (
        *(("glance", name) for name in ("volumes", "vms", "backups")),
        *(("cinder", name) for name in ("vms", "backups")),
        *(("nova", name) for name in ("volumes", "backups")),
        ("cinder-backup", "vms"),
    ):
        with site.connect(user, pool) as store:
            with refused():
                store.volumes.list()
            with refused():
                store.volumes.create("volume-2", MiB)
    for user in ("cinder", "cinder-backup"):
        with site.connect(user, "images") as store:
            assert b"".join(store.images.get(image.uri)) == DATA
            with refused():
                store.images.add("image-2", DATA)
            with refused():
                store.images.delete(image.uri)
    with site.load("volumes") as cinder, site.load("images") as glance:
        assert [found.name for found in cinder.volumes.list()] == ["volume-1"]
        assert [found.uri for found in glance.images.list()] == [image.uri]
        cinder.volumes.delete("volume-1")
        glance.images.delete(image.uri)


def test_the_sections_are_those_that_services_read(site):
    """Each as it stands there, read as a backend of this library with the service's own names."""
    glance, cinder, nova = (site.conf(f"{name}.conf") for name in ("glance-api", "cinder", "nova"))
    assert glance["DEFAULT"]["enabled_backends"] == "images:rbdstore"
    assert glance["glance_store"]["default_backend"] == "images"
    assert cinder["DEFAULT"]["enabled_backends"] == "volumes"
    assert cinder["DEFAULT"]["backup_ceph_user"] == "cinder-backup"
    assert cinder["DEFAULT"]["backup_ceph_pool"] == "backups"
    assert nova["libvirt"]["images_type"] == "rbd"
    for parser, section, user in (
        (glance, "images", "glance"),
        (cinder, "volumes", "cinder"),
        (nova, "libvirt", "nova"),
    ):
        text = f"[rbdstore]\nenabled_backends = {section}:rbd\n[{section}]\n" + "".join(
            f"{name} = {value}\n"
            for name, value in parser[section].items()
            if name not in parser.defaults()
        )
        path = site.folder.parent / "one.conf"
        path.write_text(text)
        with rbdstore.load(str(path)) as store:
            store.volumes.create("volume-1", MiB)
            assert store.volumes.connection_info("volume-1").user == user
            store.volumes.delete("volume-1")


def test_libvirt_is_told_the_same_uuid_as_the_services(site):
    script = (site.folder / "libvirt-secrets.sh").read_text()
    for user, name, section in (("cinder", "cinder", "volumes"), ("nova", "nova", "libvirt")):
        path = site.folder / f"client.{user}.secret.xml"
        secret = ElementTree.parse(path).getroot()
        number = secret.findtext("uuid")
        assert (secret.get("ephemeral"), secret.get("private")) == ("no", "yes")
        assert secret.find("usage").get("type") == "ceph"
        assert site.conf(f"{name}.conf")[section]["rbd_secret_uuid"] == number
        key = site.folder / f"ceph.client.{user}.key"
        assert f"virsh secret-define --file {path}\n" in script
        assert f"virsh secret-set-value --secret {number} --file {key}\n" in script
        assert key.read_text().strip() == site.users()[user][1]
    assert subprocess.run(["sh", "-n"], input=script, text=True).returncode == 0


def test_keys_are_in_files_of_mode_0600_and_nowhere_else(site):
    found = site.files()
    assert {name for name, (text, _) in found.items() if secrecy.KEY.search(text)} == SECRETS
    for name, (_, status) in found.items():
        assert stat.S_IMODE(status.st_mode) == (0o600 if name in SECRETS else 0o644)
    # Whatever is logged or told, too.
    ended = commands.run("-vv", "--debug", "provision", *site.base, "--owner", "nosuch")
    assert not secrecy.KEY.search(ended.out + ended.err)


# What was there


def test_what_a_user_may_do_is_added_to(site):
    mixed = "allow class-read object_prefix rbd_children; allow r pool='a,b', profile rbd pool=vms"
    before = ["mon", "allow r", "osd", mixed, "mds", "allow"]
    site.ceph("auth caps", entity="client.cinder", caps=before)
    _, key = site.users()["cinder"]
    outcome, *notes = site.outcomes()["client.cinder"]
    assert outcome == "updated"
    assert "added: mon `profile rbd`" in notes
    assert "not needed, and kept: osd `profile rbd pool=vms`" in notes
    assert site.users()["cinder"] == (
        {
            "mon": "allow r, profile rbd",
            "osd": f"{mixed}, profile rbd pool=volumes, profile rbd-read-only pool=images",
            "mds": "allow",
            "mgr": "profile rbd pool=volumes",
        },
        key,
    )
    # From now on it is as it should be, and what is more is said each time.
    outcome, *notes = site.outcomes()["client.cinder"]
    assert outcome == "unchanged"
    assert "not needed, and kept: mds `allow`" in notes
    outcome, *notes = site.outcomes("--lower-caps")["client.cinder"]
    assert outcome == "updated"
    assert "taken away: osd `profile rbd pool=vms`" in notes
    assert site.users()["cinder"] == (roles.role("cinder").caps, key)


def test_who_may_do_everything_lacks_nothing(site):
    everything = ["mon", "allow *", "osd", "allow *", "mgr", "allow *"]
    site.ceph("auth caps", entity="client.nova", caps=everything)
    before = site.users()["nova"]
    outcome, *notes = site.outcomes()["client.nova"]
    assert outcome == "unchanged"
    assert "not needed, and kept: osd `allow *`" in notes
    assert site.users()["nova"] == before


def test_a_pool_is_left_as_it_is_but_made_ready(site):
    site.ceph("osd pool create", pool="bare", pg_num=2)
    arguments = ("--pool", "volumes=bare", "--pg-num", "4", "--force")
    assert site.outcomes(*arguments)["bare"] == ("updated", "pg_num is left at 2, not 4")
    assert site.pools()["bare"]["application_metadata"] == {"rbd": {}}
    assert site.outcomes(*arguments)["bare"] == ("unchanged", "pg_num is left at 2, not 4")
    with site.load("volumes") as store:
        store.volumes.create("volume-1", MiB)
        store.volumes.delete("volume-1")


def test_a_file_that_is_another_one_is_replaced_only_on_demand(site):
    keyring = site.folder / "ceph.client.glance.keyring"
    key = site.users()["glance"][1]
    # As Ceph writes them, with capabilities: it has the key, and that is what counts.
    written = f'[client.glance]\n\tkey = {key}\n\tcaps mon = "profile rbd"\n'
    keyring.write_text(written)
    assert site.outcomes()["ceph.client.glance.keyring"] == ("unchanged",)
    keyring.chmod(0o644)
    (site.folder / "cinder.conf").write_text("[DEFAULT]\n")
    line = site.refused()
    assert "ceph.client.glance.keyring (mode 0644)" in line
    assert "cinder.conf (other content)" in line
    found = site.outcomes("--force")
    assert found["ceph.client.glance.keyring"] == ("replaced", "was: mode 0644")
    assert found["cinder.conf"] == ("replaced", "was: other content")
    assert set(site.outcomes().values()) == {("unchanged",)}


# What cannot be


def test_a_pool_of_somebody_else_is_refused(site):
    site.ceph("osd pool create", pool="files")
    site.ceph("osd pool application enable", pool="files", app="cephfs")
    site.ceph("osd pool create", pool="coded", pg_num=1, pool_type="erasure")
    line = site.refused("--pool", "vms=files", "--pool", "volumes=coded", "--pool", "images=new")
    # All that is in the way, at once.
    assert "pool files: it is used by cephfs: name another pool" in line
    assert "pool coded: it is erasure-coded" in line
    assert "new" not in site.pools()


def test_more_replicas_than_osds_are_refused(site):
    line = site.refused("--replicas", "3", "--pool", "volumes=new", "--force")
    assert "pool new: there cannot be 3 replicas on 1 OSD" in line


def test_who_is_no_administrator_is_refused(site):
    keyring = str(site.folder / "ceph.client.cinder.keyring")
    line = site.refused("--admin-user", "cinder", "--admin-keyring", keyring, "--pool", "vms=new")
    assert re.search(
        r"client\.cinder may not do `ceph .*` \(.*\): if it is no administrator", line
    )
    line = site.refused("--admin-user", "nosuch")
    assert "no key of client.nosuch" in line


def test_an_administrator_by_another_name_with_a_keyring_of_its_own(site, tmp_path):
    keyring = tmp_path / "root.keyring"
    everything = ["mon", "allow *", "osd", "allow *"]
    site.ceph("auth add", entity="client.root", caps=everything)
    keyring.write_text(f"[client.root]\nkey = {site.users()['root'][1]}\n")
    arguments = ("--admin-user", "root", "--admin-keyring", str(keyring))
    assert set(site.outcomes(*arguments).values()) == {("unchanged",)}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--owner", "nosuch"), "owner: there is no user 'nosuch' on this host"),
        (("--output-dir", "/dev/null/here"), "/dev/null is no folder"),
        (("--pool", "volumes="), "cinder works in volumes, and of those there is to be none"),
        (("--pool", "volumes=a/b"), "'a/b' is no name of a pool"),
        (("/dev/null/site.yaml",), "/dev/null/site.yaml: Not a directory"),
    ],
)
def test_what_cannot_be_meant_is_refused(site, arguments, said):
    assert said in site.refused(*arguments)


def test_what_is_no_description_is_refused(site, tmp_path):
    (tmp_path / "site.yaml").write_text("roles: [glance")
    assert "site.yaml: it is not in the form of YAML" in site.refused(str(tmp_path / "site.yaml"))
    (tmp_path / "site.yaml").write_text("pools: {volumes: {name: v, type: erasure}}")
    assert "a pool of images is replicated" in site.refused(str(tmp_path / "site.yaml"))


def test_wrong_usage(site):
    for arguments in (
        ("--role", "glans"),
        ("--pool", "disks=vms"),
        ("--pg-num", "4", "--pg-autoscale"),
    ):
        assert site.run(*arguments).status == 2


def test_it_goes_on_where_it_ended(empty):
    """Cut off after the first user, as it were: its key is the one that was made then."""
    empty.outcomes("--role", "glance")
    key = empty.users()["glance"][1]
    shutil.rmtree(empty.folder)
    found = empty.outcomes()
    assert found["images"] == ("unchanged",)
    assert found["client.glance"][0] == "updated"
    assert empty.users()["glance"][1] == key
    assert key in (empty.folder / "ceph.client.glance.keyring").read_text()
