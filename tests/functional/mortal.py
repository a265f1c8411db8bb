# SPDX-License-Identifier: Apache-2.0
"""Processes that each carry out one operation of :mod:`faultcases`, and may be killed meanwhile.

::

    ended = mortal.carry_out(place, world, rehearsal, Kill(12, "Pool.rename"))
    assert ended is None            # it was killed
    assert mortal.carry_out(place, world, rehearsal) == ("ok", "")
"""

import dataclasses
import multiprocessing
import multiprocessing.connection
import signal
import threading

import faultcases
import rehearsals

import rbdstore

# Its processes are forked, quickly, from one that has imported everything and connected nothing.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["rbdstore.drivers.rbd.driver", "rbdstore.testing.faults"])

# Who starts one looks for all that have ended, and a status can be read once.
_starting = threading.Lock()

# However long a dead one's leases and watchers are waited for, several times over.
_LIMIT = 120


@dataclasses.dataclass(frozen=True)
class Kill:
    """When a process is killed.

    :ivar n: at which call of the driver, counted from 1
    :ivar call: what that was when nothing went wrong
    :ivar later: how many seconds into it; 0: right before it
    """

    n: int
    call: str
    later: float = 0.0

    def __str__(self):
        where = f"{1000 * self.later:.0f} ms into" if self.later else "before"
        return f"killed {where} call {self.n}, {self.call}"


def carry_out(place, world, rehearsal, kill=None):
    """Have an operation done in a process of its own, with connections of its own.

    :return: ``"ok"`` or an error's name, and the error's text; None: it was killed
    """
    ours, theirs = _context.Pipe(duplex=False)
    names = [pool.name for pool in world.pools]
    process = _context.Process(
        target=_serve,
        args=(theirs, place.conf_path, names, rehearsal.case.name, rehearsal.clone_format, kill),
        daemon=True,
    )
    with _starting:
        process.start()
    theirs.close()
    try:
        assert ours.poll(_LIMIT), "the process neither ends nor answers"
        return ours.recv()
    except EOFError:
        status = _end(process)
        # Nothing else may end it: librbd can abort a process.
        assert status == -signal.SIGKILL, f"it ended with status {status}"
        return None
    finally:
        process.kill()
        _end(process)
        ours.close()


def _end(process):
    """Wait for the end of a process; its status."""
    multiprocessing.connection.wait([process.sentinel])
    with _starting:
        process.join()
        return process.exitcode


def _serve(pipe, conf_path, names, case_name, clone_format, kill):
    (case,) = (one for one in faultcases.EVERY_CASE if one.name == case_name)
    options = {"rbd_ceph_conf": conf_path, "rbd_clone_format": str(clone_format)}
    with rbdstore.connect("rbd", rbd_pool=names[0], **options) as store:
        world = faultcases.World(
            store._cluster, names, lease_seconds=rehearsals.LEASE_SECONDS, **case.options
        )
        if kill is not None:
            world.plan.kill(kill.n, later=kill.later)
        try:
            case.act(world)
            ended = "ok", ""
        except Exception as error:
            ended = type(error).__name__, "; ".join([str(error), *getattr(error, "__notes__", [])])
        world.plan.stop()
        world.close()
        pipe.send(ended)
