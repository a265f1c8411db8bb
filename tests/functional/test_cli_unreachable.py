# SPDX-License-Identifier: Apache-2.0
"""``rbdstore`` and a Ceph that does not answer: whoever gives up waiting need not wait."""

import signal
import socket
import subprocess

import commands
import pytest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_while_it_connects(tmp_path, number):
    """Nothing was begun that would have to be taken back."""
    with socket.create_server(("127.0.0.1", 0)) as monitor:
        conf = tmp_path / "ceph.conf"
        conf.write_text(f"[global]\nmon_host = v2:127.0.0.1:{monitor.getsockname()[1]}\n")
        options = [f"rbd_ceph_conf={conf}", "rbd_pool=volumes", "rados_connect_timeout=600"]
        with subprocess.Popen(
            [commands.PYTHON, "-m", "rbdstore.cli", "--driver", "rbd"]
            + [word for option in options for word in ("--option", option)]
            + ["volume", "delete", "volume-1"],
            env=commands.environment(),
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                # Its client has come, and is not answered.
                connection, _address = monitor.accept()
                with connection:
                    process.send_signal(number)
                    _out, err = process.communicate(timeout=120)
            finally:
                process.kill()
    assert (process.returncode, err) == (-number, "")
