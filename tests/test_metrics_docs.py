# SPDX-License-Identifier: Apache-2.0
"""The page about metrics, the alerts and the units of systemd: what they name, there is."""

import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import pages
import prometheus_client
import pytest
import yaml

from rbdstore import exceptions
from rbdstore.metrics import operations, pools

ETC = pages.ROOT / "etc"
PAGE = "operator/metrics"
UNITS = sorted(path.name for path in (ETC / "systemd").iterdir())
_NAME = re.compile(r"\brbdstore_[a-z_]+")


@pytest.fixture(scope="module")
def told():
    """The names of all metrics, as they are in the text that Prometheus reads."""
    registry = prometheus_client.CollectorRegistry()
    operations.Operations(registry)
    registry.register(pools.Pools({}, pools.Periods(gc=1)))
    return {
        family.name + ("_total" if family.type == "counter" else "")
        for family in registry.collect()
    }


def test_every_metric_is_on_the_page(told):
    named = set(re.findall(r"^``(rbdstore_[a-z_]+)``", pages.text(PAGE), re.MULTILINE))
    assert named == told


def test_what_alerts_ask_for_there_is(told):
    rules = yaml.safe_load((ETC / "prometheus" / "rbdstore-alerts.yaml").read_text())
    (group,) = rules["groups"]
    for rule in group["rules"]:
        names = {name.removesuffix("_count") for name in _NAME.findall(rule["expr"])}
        assert names, rule["alert"]
        assert names <= told, rule["alert"]
        for wanted in re.findall(r'outcome=~"([\w|]+)"', rule["expr"]):
            assert all(hasattr(exceptions, name) for name in wanted.split("|"))


def test_the_scraping_is_yaml():
    (job,) = yaml.safe_load(pages.block(PAGE, "yaml"))["scrape_configs"]
    assert job["static_configs"][0]["targets"] == ["127.0.0.1:9294"]


def commands_of(unit):
    text = (ETC / "systemd" / unit).read_text()
    return re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)


@pytest.mark.parametrize("unit", [unit for unit in UNITS if commands_of(unit)])
def test_a_unit_starts_what_there_is(unit, tmp_path):
    (command,) = commands_of(unit)
    program, *arguments = shlex.split(command.replace("%i", "images"))
    assert program == "/usr/bin/rbdstore"
    conf = tmp_path / "rbdstore.conf"
    conf.write_text(
        "[rbdstore]\nenabled_backends = images:file\n"
        f"[images]\nrbd_pool = images\nfile_store_datadir = {tmp_path / 'data'}\n"
    )
    # Which else would go on.
    once = ["--once"] if "exporter" in arguments else []
    subprocess.run(
        [sys.executable, "-m", "rbdstore.cli", "--config-file", conf, *arguments, *once],
        check=True,
        stdout=subprocess.DEVNULL,
    )


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_reads_the_units(tmp_path):
    for unit in UNITS:
        text = (ETC / "systemd" / unit).read_text()
        pathlib.Path(tmp_path, unit).write_text(text.replace("/usr/bin/rbdstore", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(tmp_path / unit for unit in UNITS)],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
