# SPDX-License-Identifier: Apache-2.0
"""A reader who does all that a page of the documentation shows, in its order.

In a folder of the page's own is ``rbdstore.conf``, with the backends ``images``, ``volumes``,
``vms`` and ``backups``, which the shell's ``RBDSTORE_CONFIG`` names. Each block is

* kept in the file that its caption names, where it has one;
* carried out, if it is Python; with what the blocks before it have defined;
* typed into a shell, if it is of a console, and must print what is written below it, or, if it has
  commands alone, must succeed;
* held against the options that there are, if it is a configuration (:mod:`confblocks`).

What a page takes for granted is in :mod:`before`.
"""

import contextlib
import os
import sys

import before
import pages
import pytest
import tour

# What is not done here, and why. A line that is not needed any more fails.
ELSEWHERE = {
    ("operator/metrics", "scrape_configs:"): "test_metrics_docs.py",
    ("README", "$ ./quickstart.sh"): "tests/functional/test_main_job.py does what it does",
    ("README", "$ ./runtests.sh"): "this is part of it",
    ("README", "$ . .venv/bin/activate"): "the tour: test_tour.py, on files and on Ceph",
    ("README", "$ head -c 64M /dev/urandom >disk.raw"): "the tour: test_tour.py",
    ("README", "import rbdstore"): "test_readme.py",
    ("README", "from oslo_utils import units"): "functional/test_readme.py",
    ("developer/sandbox", "$ rbdstore sandbox up"): "the tour: functional/test_tour.py",
    (
        "operator/setup",
        "$ apt-get install python3-venv python3-rados python3-rbd qemu-utils qemu-block-extra",
    ): ("tools/setup-env.sh installs them, and more, before the tests run"),
    ("operator/setup", "$ python3 -m venv --system-site-packages /opt/rbdstore"): (
        "needs a registry; tools/setup-env.sh does the same in .venv"
    ),
    ("operator/provision", "roles: [glance, cinder]"): "the block after it reads it as site.yaml",
    ("benchmarks", "$ .venv/bin/tox run -e bench"): "takes more than an hour; tests/test_bench.py",
    ("benchmarks", "$ .tox/bench/bin/python bench/transfer.py get --pairs 7"): "as above",
}


# Pages whose blocks need a real Ceph. All others are followed on the embedded driver.
ON_CEPH = {
    "developer/fixtures",
    "developer/sandbox",
    "operator/configuration",
    "operator/recovery",
    "operator/setup",
    "operator/provision",
}

FOLLOWED = {"python", "console", "shell"}

# Pages that another test follows, with services that are not here.
BY_OTHERS = {"operator/switching": "tests/e2e/test_switching.py"}

BACKENDS = {
    "images": "glance",
    "volumes": "cinder",
    "vms": "nova",
    "backups": "cinder-backup",
}


def on_files(folder):
    """The lines of a backend's section, and none for its user: the driver knows no users."""
    return "file", lambda _user: f"file_store_datadir = {folder}\n"


def on_ceph(sandbox):
    return "rbd", lambda user: f"rbd_user = {user}\nrbd_ceph_conf = {sandbox.conf_path}\n"


def configuration(driver, section):
    enabled = ", ".join(f"{name}:{driver}" for name in BACKENDS)
    text = f"[rbdstore]\nenabled_backends = {enabled}\ndefault_backend = volumes\n"
    for name, user in BACKENDS.items():
        text += f"[{name}]\nrbd_pool = {name}\nrbd_lease_seconds = 5\n{section(user)}"
    return text


def is_followed(block):
    done = block.page in BY_OTHERS or (block.page, block.begin) in ELSEWHERE
    return block.language in FOLLOWED and not done


def pages_to_follow(*, on_ceph):
    return [
        page
        for page in pages.names()
        if (page in ON_CEPH) is on_ceph and any(map(is_followed, pages.blocks(page)))
    ]


def follow(page, folder, place, *, conf_path="/etc/ceph/ceph.conf", **environment):
    """Do what a page shows, where a host's ceph.conf is another one."""
    (folder / "rbdstore.conf").write_text(configuration(*place))
    environment = {
        "RBDSTORE_CONFIG": str(folder / "rbdstore.conf"),
        "HOME": str(folder),
        "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}",
        **environment,
    }
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.chdir(folder)
        for name, value in environment.items():
            patch.setenv(name, value)
        child = stack.enter_context(tour.shell(folder, folder / "session", **environment))
        names, real = before.prepare(page, stack)
        real["/etc/ceph/ceph.conf"] = conf_path
        for block in pages.blocks(page):
            text = block.text
            for shown, used in real.items():
                text = text.replace(shown, used)
            if block.file:
                (folder / block.file).write_text(text)
            elif not is_followed(block):
                continue
            elif block.language == "console":
                tour.type_in(child, text)
            elif block.language == "shell":
                tour.succeed(child, text)
            else:
                # So that an error tells the line of the page.
                code = compile("\n" * (block.line - 1) + text, str(pages.path(page)), "exec")
                exec(code, names)
