# SPDX-License-Identifier: Apache-2.0
"""From a configuration, or from values, to a store; and what is said when that cannot be."""

import importlib.metadata
import subprocess
import sys
import threading
import time

import memory
import pytest
import stevedore
from oslo_config import cfg

import rbdstore
from rbdstore import driver, exceptions, images, loading, settings, store, volumes

HERE = __name__


class Recording(driver.Driver):
    """Remembers what it was opened with."""

    OPTIONS = (
        cfg.StrOpt("colour", default="red", help="Any."),
        cfg.IntOpt("weight", min=1, deprecated_opts=[cfg.DeprecatedOpt("mass")], help="In kg."),
    )
    opened = ()

    def open(self, options):
        type(self).opened = options
        return memory.memory_cluster()


class Older(Recording):
    API_VERSION = 0


class Overlapping(Recording):
    OPTIONS = (cfg.StrOpt("rbd_pool", default="mine", help="Not as every backend has it."),)


class Wrong(Recording):
    """Says what is wrong, though not where."""

    def open(self, options):
        raise exceptions.ConfigError("the moon is in the wrong phase: wait")


class Lazy(Recording):
    def open(self, options):
        import no_such_module  # noqa: F401


class Unfinished(driver.Driver):
    pass


INSTALLED = {
    "recording": f"{HERE}:Recording",
    "older": f"{HERE}:Older",
    "overlapping": f"{HERE}:Overlapping",
    "wrong": f"{HERE}:Wrong",
    "lazy": f"{HERE}:Lazy",
    "unfinished": f"{HERE}:Unfinished",
    "function": f"{HERE}:parsed",
    "broken": "no_such_module.driver:Driver",
    "incomplete": f"{HERE}:NoSuchClass",
}


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """Install drivers for the time of one test."""
    points = [
        importlib.metadata.EntryPoint(name, value, loading.NAMESPACE)
        for name, value in INSTALLED.items()
    ]
    monkeypatch.setitem(stevedore.ExtensionManager.ENTRY_POINT_CACHE, loading.NAMESPACE, points)
    return points


def write(tmp_path, text):
    path = tmp_path / "rbdstore.conf"
    path.write_text(text)
    return path


def parsed(tmp_path, text):
    conf = cfg.ConfigOpts()
    conf([], default_config_files=[str(write(tmp_path, text))], default_config_dirs=[])
    return conf


ONE = """\
[rbdstore]
enabled_backends = fast:recording

[fast]
colour = blue
rbd_max_clone_depth = 3
"""

TWO = """\
[rbdstore]
enabled_backends = fast:recording, slow:recording

[fast]
colour = blue

[slow]
colour = grey
"""


def fails(call, *parts):
    """See that ``call`` raises a ConfigError that says all of ``parts``; return its text."""
    with pytest.raises(exceptions.ConfigError) as caught:
        call()
    text = str(caught.value)
    for part in parts:
        assert part in text
    return text


class TestLoad:
    def test_a_driver_gets_its_own_and_the_common_options_and_the_section(self, tmp_path):
        with rbdstore.load(parsed(tmp_path, ONE), "fast") as loaded:
            assert isinstance(loaded, rbdstore.Store)
        assert Recording.opened["section"] == "fast"
        assert Recording.opened["colour"] == "blue"
        assert Recording.opened["weight"] is None
        assert Recording.opened["rbd_max_clone_depth"] == 3
        assert Recording.opened["rbd_pool"] == "rbd"

    def test_the_only_backend_is_the_default(self, tmp_path):
        rbdstore.load(parsed(tmp_path, ONE)).close()
        assert Recording.opened["section"] == "fast"

    def test_the_default_backend(self, tmp_path):
        text = TWO.replace("[fast]", "default_backend = slow\n\n[fast]")
        rbdstore.load(parsed(tmp_path, text)).close()
        assert Recording.opened["colour"] == "grey"

    def test_from_a_path(self, tmp_path):
        path = write(tmp_path, TWO)
        rbdstore.load(path, "fast").close()
        assert Recording.opened["colour"] == "blue"
        rbdstore.load(str(path), "slow").close()
        assert Recording.opened["colour"] == "grey"

    def test_from_the_usual_places(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / ".rbdstore").mkdir()
        write(tmp_path / ".rbdstore", ONE)
        rbdstore.load().close()
        assert Recording.opened["colour"] == "blue"

    def test_a_configuration_may_be_used_many_times(self, tmp_path):
        conf = parsed(tmp_path, TWO)
        for name, colour in (("fast", "blue"), ("slow", "grey"), ("fast", "blue")):
            rbdstore.load(conf, name).close()
            assert Recording.opened["colour"] == colour

    def test_what_others_registered_stays(self, tmp_path):
        conf = parsed(tmp_path, ONE + "weight = 7\n")
        theirs = cfg.StrOpt("weight", default="light", help="Another library's.")
        conf.register_opt(theirs, group="fast")
        rbdstore.load(conf).close()
        assert Recording.opened["weight"] == 7
        assert conf.fast.weight == "7"

    def test_options_that_were_set_in_the_process(self):
        conf = cfg.ConfigOpts()
        conf([], default_config_files=[], default_config_dirs=[])
        conf.register_opts(rbdstore.opts.BACKENDS, group="rbdstore")
        conf.register_opts(Recording.OPTIONS, group="fast")
        conf.set_override("enabled_backends", "fast:recording", group="rbdstore")
        conf.set_override("colour", "green", group="fast")
        rbdstore.load(conf).close()
        assert Recording.opened["colour"] == "green"

    def test_no_file(self, tmp_path):
        path = str(tmp_path / "nowhere.conf")
        fails(lambda: rbdstore.load(path), path, "name a file")

    def test_no_file_in_the_usual_places(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        fails(rbdstore.load, "there is no rbdstore.conf in ~/.rbdstore")

    def test_a_file_that_is_no_configuration(self, tmp_path):
        path = write(tmp_path, "this is prose\n")
        fails(lambda: rbdstore.load(path), str(path), "name a file")

    def test_no_backend(self, tmp_path):
        conf = parsed(tmp_path, "[rbdstore]\n")
        fails(lambda: rbdstore.load(conf), "[rbdstore] enabled_backends: ", "add one")

    def test_several_backends_and_no_default(self, tmp_path):
        conf = parsed(tmp_path, TWO)
        fails(lambda: rbdstore.load(conf), "[rbdstore] default_backend: ", "one of fast, slow")

    def test_a_default_that_is_not_enabled(self, tmp_path):
        conf = parsed(tmp_path, TWO.replace("[fast]", "default_backend = faster\n\n[fast]"))
        fails(
            lambda: rbdstore.load(conf),
            "[rbdstore] default_backend: ",
            "'faster'",
            "one of fast, slow",
        )

    def test_a_backend_that_is_not_enabled(self, tmp_path):
        conf = parsed(tmp_path, TWO)
        fails(
            lambda: rbdstore.load(conf, "faster"),
            "[rbdstore] enabled_backends: ",
            "'faster'",
            "one of fast, slow",
        )

    def test_backends_of_a_wrong_form(self, tmp_path):
        conf = parsed(tmp_path, ONE.replace("fast:recording", "fast"))
        fails(lambda: rbdstore.load(conf), "[rbdstore] enabled_backends: 'fast' is not of the")

    def test_no_section(self, tmp_path):
        conf = parsed(tmp_path, ONE.replace("[fast]", "[fsat]"))
        for _ in range(2):
            fails(
                lambda: rbdstore.load(conf),
                "[fast]: there is no such section",
                "[rbdstore] enabled_backends",
                "add it",
            )

    def test_an_empty_section(self, tmp_path):
        conf = parsed(tmp_path, "[rbdstore]\nenabled_backends = fast:recording\n[fast]\n")
        rbdstore.load(conf).close()
        assert Recording.opened["colour"] == "red"

    def test_a_wrong_value(self, tmp_path):
        conf = parsed(tmp_path, ONE + "weight = 0\n")
        fails(lambda: rbdstore.load(conf), "[fast] weight: ", "give a whole number from 1")

    def test_a_wrong_value_of_a_common_option(self, tmp_path):
        conf = parsed(tmp_path, ONE + "rbd_store_chunk_size = 12\n")
        fails(lambda: rbdstore.load(conf), "[fast] rbd_store_chunk_size: 12", "a power of two")

    def test_what_a_driver_says_gets_a_place(self, tmp_path):
        conf = parsed(tmp_path, ONE.replace("recording", "wrong"))
        fails(
            lambda: rbdstore.load(conf),
            "[rbdstore] enabled_backends = fast:wrong: the moon",
            "wait",
        )


class TestConnect:
    def test_options(self):
        with rbdstore.connect("recording", colour="pink", mass="7", rbd_pool="volumes"):
            pass
        assert Recording.opened["section"] == ""
        assert Recording.opened["colour"] == "pink"
        assert Recording.opened["weight"] == 7
        assert Recording.opened["rbd_pool"] == "volumes"
        assert Recording.opened["rbd_lease_seconds"] == 30

    def test_an_unknown_option(self):
        fails(
            lambda: rbdstore.connect("recording", color="pink"),
            "color: there is no such option",
            "there are backup_ceph_max_snapshots, ",
            " colour, ",
        )

    def test_a_wrong_value(self):
        fails(
            lambda: rbdstore.connect("recording", weight="heavy"),
            "weight: ",
            "give a whole number from 1",
        )

    def test_a_driver_that_is_not_installed(self):
        fails(
            lambda: rbdstore.connect("recrding"),
            "driver recrding: ",
            "install the package",
            "broken, function, incomplete, lazy, older, overlapping, recording",
        )

    def test_no_driver_at_all(self, installed):
        installed.clear()
        fails(lambda: rbdstore.connect("rbd"), "not even rbdstore's own")

    def test_two_packages_with_one_driver(self, installed):
        installed.append(
            importlib.metadata.EntryPoint("recording", f"{HERE}:Wrong", loading.NAMESPACE)
        )
        fails(lambda: rbdstore.connect("recording"), "several installed packages", "uninstall")

    @pytest.mark.parametrize(
        ("name", "parts"),
        [
            ("broken", ["for want of no_such_module", "install that"]),
            ("incomplete", ["cannot be imported", "repair the package"]),
            ("lazy", ["the module no_such_module", "install it"]),
            ("older", ["version 0 of the interface", "version 1", "install a release"]),
            ("function", ["is no driver", "repair the package"]),
            ("unfinished", ["is no driver", "a class with open()", "repair the package"]),
            ("overlapping", ["its option rbd_pool", "name it otherwise"]),
            ("wrong", ["the moon is in the wrong phase"]),
        ],
    )
    def test_a_driver_that_cannot_be_used(self, name, parts):
        fails(lambda: rbdstore.connect(name), *parts)

    @pytest.mark.parametrize("name", ["broken", "older", "lazy"])
    def test_a_driver_that_cannot_be_used_names_its_section(self, tmp_path, name):
        conf = parsed(tmp_path, ONE.replace("recording", name))
        fails(lambda: rbdstore.load(conf), f"[rbdstore] enabled_backends = fast:{name}: ")


class TestListOpts:
    def test_a_section_for_each_driver(self, installed):
        installed[:] = [point for point in installed if point.name in ("recording", "wrong")]
        found = {str(getattr(group, "name", group)): opts for group, opts in loading.list_opts()}
        assert list(found) == ["rbdstore", "recording", "wrong"]
        names = [opt.dest for opt in found["recording"]]
        assert {"rbd_pool", "rbd_max_clone_depth", "colour", "weight"} <= set(names)
        assert len(names) == len(set(names))

    def test_a_driver_that_cannot_be_imported_is_left_out(self, installed, caplog):
        installed[:] = [point for point in installed if point.name in ("recording", "broken")]
        found = [str(getattr(group, "name", group)) for group, _opts in loading.list_opts()]
        assert found == ["rbdstore", "recording"]
        assert "broken" in caplog.text


class Counting(memory.driver.MemoryCluster):
    """Counts what is opened and closed."""

    def __init__(self, other):
        super().__init__(other._state, other.features)
        self.opened = self.closed = 0

    def open_pool(self, name, namespace=""):
        self.opened += 1
        time.sleep(0.01)
        return super().open_pool(name, namespace)

    def close(self):
        self.closed += 1
        super().close()


class TestStore:
    @pytest.fixture
    def cluster(self):
        return Counting(memory.memory_cluster(pools=["rbd", "volumes/tenant"]))

    def test_nothing_is_opened_before_it_is_used(self, cluster):
        with store.Store(cluster, settings.Settings()) as opened:
            assert cluster.opened == 0
            assert isinstance(opened.images, images.ImageStore)
            assert isinstance(opened.volumes, volumes.VolumeStore)
            assert cluster.opened == 1
        assert cluster.closed == 1

    def test_threads_share_what_is_opened(self, cluster):
        with store.Store(cluster, settings.Settings()) as opened:
            seen = []
            threads = [
                threading.Thread(target=lambda: seen.append((opened.images, opened.volumes)))
                for _ in range(20)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(seen) == 20
            assert len(set(seen)) == 1
        assert cluster.opened == 1

    def test_the_pool_and_namespace_are_those_of_the_settings(self, cluster):
        with store.Store(cluster, settings.Settings("volumes", "tenant")) as opened:
            opened.volumes.create("v", 1 << 20)
        found = Counting(cluster).open_pool("volumes", "tenant")
        assert found.list_images() == ["v"]

    def test_a_missing_pool_is_told_at_the_first_use(self, cluster):
        with store.Store(cluster, settings.Settings("nowhere")) as opened:
            for _ in range(2):
                with pytest.raises(exceptions.PoolNotFound):
                    _ = opened.images

    def test_closing_twice(self, cluster):
        opened = store.Store(cluster, settings.Settings())
        opened.close()
        opened.close()
        assert cluster.closed == 1

    @pytest.mark.parametrize("service", ["images", "volumes"])
    def test_a_closed_store_says_so(self, cluster, service):
        opened = store.Store(cluster, settings.Settings())
        getattr(opened, service)
        opened.close()
        with pytest.raises(exceptions.RbdStoreError, match="this store is closed"):
            getattr(opened, service)


def test_the_version_is_that_of_the_distribution():
    assert rbdstore.__version__ == importlib.metadata.version("rbdstore")


def test_importing_it_needs_neither_rados_nor_rbd():
    code = (
        "import sys\n"
        "sys.modules['rados'] = sys.modules['rbd'] = None\n"
        "import rbdstore\n"
        "from rbdstore import loading\n"
        "assert loading.list_opts()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
