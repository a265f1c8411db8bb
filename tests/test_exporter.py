# SPDX-License-Identifier: Apache-2.0
"""``rbdstore exporter``, as a process that is asked over HTTP."""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import urllib.request

import pytest
from prometheus_client import parser

import rbdstore
from rbdstore.metrics import pools

MiB = 1 << 20
ROOT = pathlib.Path(rbdstore.__file__).parents[1]
COMMAND = [sys.executable, "-m", "rbdstore.cli"]


@pytest.fixture
def conf(tmp_path):
    """Two pools of one cluster, and one that is not there."""
    path = tmp_path / "rbdstore.conf"
    path.write_text(
        "[rbdstore]\n"
        "enabled_backends = volumes:file, images:file, broken:file\n"
        "default_backend = volumes\n"
        "[volumes]\nrbd_pool = volumes\nrbd_max_clone_depth = 1\n"
        f"file_store_datadir = {tmp_path / 'data'}\n"
        f"[images]\nrbd_pool = images\nfile_store_datadir = {tmp_path / 'data'}\n"
        f"[broken]\nrbd_namespace = nowhere\nfile_store_datadir = {tmp_path / 'data'}\n"
    )
    return path


@pytest.fixture
def planted(conf):
    """A chain that is one too deep, a deleted volume, a leftover."""
    with rbdstore.load(str(conf), "volumes") as store:
        volumes = store.volumes
        volumes.create("volume-0", MiB)
        volumes.create_snapshot("volume-0", "one")
        volumes.create_from_snapshot("volume-1", "volume-0", "one")
        volumes.create_snapshot("volume-1", "one")
        volumes.create_from_snapshot("volume-2", "volume-1", "one")
        volumes.create("golden", 3 * MiB)
        volumes.create_cloned_volume("clone", "golden")
        volumes.delete("golden")
        volumes.pool.create("volume-9.0123abcd.partial", MiB)


def environment(**more):
    return os.environ | {"PYTHONPATH": str(ROOT)} | more


@contextlib.contextmanager
def running(conf, *arguments, **more):
    """The URL of one, and its process."""
    with subprocess.Popen(
        [*COMMAND, "exporter", "--config-file", conf, "--listen", "127.0.0.1:0", *arguments],
        env=environment(**more),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            for line in process.stderr:
                if match := re.search(r"answering on (http://127.0.0.1:\d+/metrics)", line):
                    yield match[1], process
                    return
            raise AssertionError(f"it ended: {process.wait()}")
        finally:
            process.kill()


def ask(url):
    """``{name: {labels: value}}``, the labels in the order of their names."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        return samples(answer.read().decode())


def samples(text):
    found = {}
    for family in parser.text_string_to_metric_families(text):
        assert family.documentation, family.name
        for sample in family.samples:
            labels = tuple(value for _name, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def eventually(url, is_so):
    while not is_so(found := ask(url)):
        time.sleep(0.2)
    return found


@pytest.mark.timeout(300)
def test_it_answers_and_ends(conf, planted):
    with running(conf, "--gc-interval", "1s") as (url, process):
        found = eventually(
            url,
            lambda found: (
                len(found.get("rbdstore_look_timestamp_seconds", ())) == 6
                and ("broken",) in found["rbdstore_up"]
            ),
        )
        assert found["rbdstore_up"] == {("volumes",): 1, ("images",): 1, ("broken",): 0}
        assert found["rbdstore_pool_images"] == {("volumes",): 5, ("images",): 0}
        assert found["rbdstore_pool_provisioned_bytes"]["volumes",] == 7 * MiB
        assert found["rbdstore_pool_trash_images"] == {("volumes",): 1, ("images",): 0}
        assert found["rbdstore_pool_clone_depth"]["volumes",] == 2
        assert found["rbdstore_pool_images_too_deep"] == {("volumes",): 1, ("images",): 0}
        leftovers = found["rbdstore_pool_leftovers"]
        assert leftovers["volumes", "draft", "reclaimable"] == 1
        # What is seen later is told later.
        with rbdstore.load(str(conf), "volumes") as store:
            store.gc(apply=True)
        eventually(
            url,
            lambda found: (
                ("volumes", "draft", "reclaimable") not in found["rbdstore_pool_leftovers"]
            ),
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_once(conf, planted):
    done = subprocess.run(
        [*COMMAND, "exporter", "--config-file", conf, "--backend", "images", "--once"],
        env=environment(),
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    found = samples(done.stdout)
    assert found["rbdstore_up"] == {("images",): 1}
    assert found["rbdstore_pool_images"] == {("images",): 0}
    # Not asked for.
    assert "rbdstore_pool_leftovers" not in found


def test_services_are_told_of_too(conf, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    script = (
        "import rbdstore\n"
        f"with rbdstore.connect('file', file_store_datadir={str(tmp_path / 'data')!r},"
        " rbd_pool='volumes', rbd_metrics=True) as store:\n"
        "    store.volumes.create('volume-1', 1 << 20)\n"
    )
    subprocess.run(
        [sys.executable, "-c", script],
        env=environment(PROMETHEUS_MULTIPROC_DIR=str(shared)),
        check=True,
    )
    with running(conf, PROMETHEUS_MULTIPROC_DIR=str(shared)) as (url, _process):
        counts = ask(url)["rbdstore_operation_duration_seconds_count"]
    assert counts == {("file/volumes", "volumes.create", "ok"): 1}


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--listen", "127.0.0.1"), 2, "is no address"),
        (("--listen", "127.0.0.1:99999"), 2, "is no address"),
        (("--interval", "0"), 2, "is no time"),
        (("--backend", "nowhere"), 1, "there is no backend 'nowhere'"),
        (("--listen", "192.0.2.1:9294"), 1, "cannot listen on 192.0.2.1:9294: "),
    ],
)
def test_wrong_usage(conf, arguments, status, said):
    done = subprocess.run(
        [*COMMAND, "exporter", "--config-file", conf, *arguments],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == status
    (line,) = done.stderr.splitlines()
    assert said in line


def test_without_the_folder_of_services(conf):
    done = subprocess.run(
        [*COMMAND, "exporter", "--config-file", conf],
        env=environment(PROMETHEUS_MULTIPROC_DIR="/nowhere/at/all"),
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "PROMETHEUS_MULTIPROC_DIR: there is no folder '/nowhere/at/all'" in done.stderr


def test_what_went_wrong_is_said_once_and_told_as_down(conf, caplog):
    with (
        rbdstore.load(str(conf), "broken") as store,
        pools.Pools({"broken": store}, pools.Periods(survey=0)) as seen,
    ):
        seen.once()
        seen.once()
        (up, *others) = seen.collect()
        (sample,) = up.samples
        assert (sample.name, sample.labels, sample.value) == (
            "rbdstore_up",
            {"backend": "broken"},
            0,
        )
        assert not any(family.samples for family in others)
    (record,) = (each for each in caplog.records if each.name == pools.LOG.logger.name)
    assert record.getMessage().startswith("stats of broken: ")
