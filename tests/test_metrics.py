# SPDX-License-Identifier: Apache-2.0
"""What Prometheus is told of operations; and that it costs nothing where it is off."""

import logging
import os
import pathlib
import subprocess
import sys
import threading

import prometheus_client
import pytest
from prometheus_client import parser

import rbdstore
from rbdstore import exceptions, observing
from rbdstore.metrics import operations

MiB = 1 << 20
ROOT = pathlib.Path(rbdstore.__file__).parents[1]


@pytest.fixture
def store(tmp_path):
    with rbdstore.connect("file", file_store_datadir=str(tmp_path / "data")) as opened:
        yield opened


@pytest.fixture
def registry():
    return prometheus_client.CollectorRegistry()


@pytest.fixture
def counted(registry):
    """While it is on; returns what is told, as Prometheus reads it."""
    observer = operations.Operations(registry)
    observing.add(observer)
    yield lambda: samples(prometheus_client.generate_latest(registry).decode())
    observing.remove(observer)


def samples(text):
    """``{name: {labels: value}}``, the labels in the order of their names."""
    found = {}
    for family in parser.text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(value for _name, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def run(script, **environment):
    """Run a script in a process of its own, where nothing is on yet."""
    return subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=300,
    ).stdout


def test_operations_and_bytes(store, counted):
    uri = store.images.add("image-1", b"x" * MiB).uri
    b"".join(store.images.get(uri))
    b"".join(store.images.get(uri, 0, 1000))
    with pytest.raises(exceptions.Duplicate):
        store.images.add("image-1", b"")
    store.images.delete(uri)
    found = counted()
    # Backend, operation, outcome.
    assert found["rbdstore_operation_duration_seconds_count"] == {
        ("file/rbd", "images.add", "ok"): 1,
        ("file/rbd", "images.get", "ok"): 2,
        ("file/rbd", "images.add", "Duplicate"): 1,
        ("file/rbd", "images.delete", "ok"): 1,
    }
    assert all(
        0 < each < 600 for each in found["rbdstore_operation_duration_seconds_sum"].values()
    )
    assert found["rbdstore_operation_bytes_total"] == {
        ("file/rbd", "written", "images.add"): MiB,
        ("file/rbd", "read", "images.get"): MiB + 1000,
    }


def test_no_label_is_a_name(store, counted, registry):
    for number in range(20):
        store.volumes.create(f"volume-{number}", MiB)
    before = prometheus_client.generate_latest(registry).decode()
    for number in range(20):
        store.volumes.rename(f"volume-{number}", f"other-{number}")
        store.volumes.delete(f"other-{number}")
    after = prometheus_client.generate_latest(registry).decode()
    assert "volume-" not in before + after
    # One series for each verb, whatever it was done to.
    assert len(counted()["rbdstore_operation_duration_seconds_count"]) == 3


def test_flattens_in_flight(store, counted):
    uri = store.images.add("image-1", b"x" * MiB).uri
    store.volumes.clone("volume-1", uri)
    seen = []
    store.volumes.flatten(
        "volume-1",
        progress=lambda _done, _total: seen.append(
            counted()["rbdstore_flattens_in_flight"]["file/rbd",]
        ),
    )
    assert set(seen) == {1}
    assert counted()["rbdstore_flattens_in_flight"] == {("file/rbd",): 0}
    store.volumes.delete("volume-1")
    store.images.delete(uri)


def test_what_gc_finds(store, counted):
    pool = store.volumes.pool
    for number in range(3):
        pool.create(f"volume-{number}.0123abcd.partial", MiB)
    store.gc()
    store.gc(apply=True)
    # Backend, kind, outcome; in two passes.
    assert counted()["rbdstore_gc_findings_total"] == {
        ("file/rbd", "draft", "reclaimable"): 3,
        ("file/rbd", "draft", "reclaimed"): 3,
    }


def test_what_somebody_else_had_begun(store, counted, tmp_path):
    """A process that dies while it makes an image; its lease runs out."""
    folder = tmp_path / "data"
    run(
        "import os, rbdstore\n"
        f"store = rbdstore.connect('file', file_store_datadir={str(folder)!r},"
        " rbd_lease_seconds=1)\n"
        "def body():\n"
        "    yield b'data'\n"
        "    os._exit(0)\n"
        "store.images.add('image-1', body())\n"
    )
    uri = store.images.add("image-1", b"other").uri
    assert counted()["rbdstore_events_total"] == {("taken_over",): 1}
    store.images.delete(uri)


def test_from_many_threads(store, counted):
    def work():
        for _ in range(50):
            store.volumes.stats()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = counted()["rbdstore_operation_duration_seconds_count"]
    assert counts == {("file/rbd", "volumes.stats", "ok"): 400}


def test_a_child_of_a_busy_process_counts_on(store, counted):
    """None of the locks that threads of its parent have is held in it for ever."""
    over = threading.Event()

    def work():
        while not over.is_set():
            observing.happened("lease_lost")
            counted()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            child = os.fork()
            if child == 0:
                # It dies of the alarm if it hangs.
                import signal

                signal.alarm(60)
                observing.happened("connect_retry")
                os._exit(0 if counted()["rbdstore_events_total"]["connect_retry",] == 1 else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        over.set()
        for thread in threads:
            thread.join()


_DEMO = """
import sys
import rbdstore
from rbdstore import observing

with rbdstore.connect("file", file_store_datadir=sys.argv[1], {more}) as store:
    uri = store.images.add("image-1", b"data").uri
    list(store.images.get(uri))
    store.images.delete(uri)
"""


def test_off_nothing_is_there(tmp_path):
    script = _DEMO.format(more="") + (
        "print('prometheus_client' in sys.modules, observing._observers)\n"
    )
    assert run(script.replace("sys.argv[1]", repr(str(tmp_path)))) == "False ()\n"


def test_on_by_an_option(tmp_path):
    script = _DEMO.format(more="rbd_metrics=True") + (
        "import prometheus_client, rbdstore.metrics\n"
        "rbdstore.metrics.enable()\n"
        "print(prometheus_client.generate_latest().decode())\n"
    )
    found = samples(run(script.replace("sys.argv[1]", repr(str(tmp_path)))))
    # Once, though it was asked for twice.
    assert found["rbdstore_operation_duration_seconds_count"]["file/rbd", "images.add", "ok"] == 1


def test_without_the_package(tmp_path):
    script = (
        "import sys\n"
        "sys.modules['prometheus_client'] = None\n"
        "import rbdstore\n"
        "try:\n"
        f"    rbdstore.connect('file', file_store_datadir={str(tmp_path)!r}, rbd_metrics='true')\n"
        "except rbdstore.exceptions.ConfigError as error:\n"
        "    print(error)\n"
    )
    assert run(script) == (
        "metrics need the Python package prometheus_client; install it with the extra metrics: "
        "pip install 'rbdstore[metrics]'\n"
    )


def test_processes_share_a_folder(tmp_path):
    """As the workers of a service do; who has died is told of, too."""
    shared = tmp_path / "shared"
    shared.mkdir()
    script = _DEMO.format(more="rbd_metrics=True").replace(
        "sys.argv[1]", repr(str(tmp_path / "d"))
    )
    for _ in range(2):
        run(script, PROMETHEUS_MULTIPROC_DIR=str(shared))
    # It died while it flattened.
    run(
        "import os, rbdstore.metrics\n"
        "from rbdstore import observing\n"
        "rbdstore.metrics.enable()\n"
        "with observing.flattening('here'):\n"
        "    os._exit(0)\n",
        PROMETHEUS_MULTIPROC_DIR=str(shared),
    )
    told = run(
        "import prometheus_client\n"
        "from rbdstore.metrics import shared\n"
        "registry = prometheus_client.CollectorRegistry()\n"
        f"registry.register(shared.Processes({str(shared)!r}))\n"
        "print(prometheus_client.generate_latest(registry).decode())\n"
    )
    found = samples(told)
    assert found["rbdstore_operation_duration_seconds_count"]["file/rbd", "images.add", "ok"] == 2
    assert found["rbdstore_operation_bytes_total"]["file/rbd", "written", "images.add"] == 8
    assert sum(found.get("rbdstore_flattens_in_flight", {}).values()) == 0


def test_an_observer_is_told_no_more(store, registry, caplog):
    caplog.set_level(logging.INFO, "rbdstore")
    observer = operations.Operations(registry)
    observing.add(observer)
    observing.remove(observer)
    store.volumes.stats()
    text = prometheus_client.generate_latest(registry).decode()
    assert "rbdstore_operation_duration_seconds_count{" not in text
