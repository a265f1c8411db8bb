# SPDX-License-Identifier: Apache-2.0
"""Volumes are written, discarded, grown and backed up in any order, and what each backup was of is
remembered: whatever becomes of the others, it restores to that. Some operations are cut off.
"""

from __future__ import annotations

import contextlib
import random
import sys

import pytest
from hypothesis import stateful
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from machine import EDGES, chosen, pattern, run_machine
from worlds import LEASE_SECONDS, OBJECT_SIZE, World

from rbdstore import exceptions, settings, spec
from rbdstore.backup import digests, source_snaps
from rbdstore.names import claims
from rbdstore.store import Store
from rbdstore.testing import faults

VOLUMES = ("a", "b")
BACKUPS = tuple(f"backup-{number}" for number in range(8))
MOST = 6 * OBJECT_SIZE

seeds = st.integers(0, 255)
sizes = st.sampled_from(EDGES) | st.integers(1, MOST)
cuts = st.none() | st.none() | st.tuples(st.integers(1, 90), st.booleans())

volume = chosen(lambda machine: sorted(machine.volumes))
point = chosen(lambda machine: sorted(machine.points))
if_volumes = precondition(lambda machine: machine.volumes)
if_points = precondition(lambda machine: machine.points)
if_room = precondition(lambda machine: machine.volumes and machine.free())


def run(world: World, examples: int, steps: int) -> None:
    """Try ``examples`` sequences of ``steps`` operations."""
    with pytest.MonkeyPatch.context() as patched:
        # So that objects have sixteen.
        patched.setattr(digests, "BLOCK", OBJECT_SIZE // 16)
        run_machine(lambda: BackupMachine(world), examples, steps)


class BackupMachine(stateful.RuleBasedStateMachine):
    """
    :ivar volumes: the bytes of each volume, and ``snapshots`` of each of their snapshots
    :ivar points: the bytes that each backup is of
    """

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.plan = faults.Plan()
        self._open = contextlib.ExitStack()
        self.volumes: dict[str, bytes] = {}
        self.snapshots: dict[str, dict[str, bytes]] = {}
        self.points: dict[str, bytes] = {}
        self.of: dict[str, str] = {}
        self.used: set[str] = set()

    @initialize(seed=seeds, keep=st.sampled_from((0, 1)), trust=st.booleans())
    def begin(self, seed, keep, trust):
        self.order = random.Random(seed)
        self.source = self._store("volumes").volumes
        self.backups = self._store(
            "backups", backup_max_snapshots=keep, backup_trust_fast_diff=trust
        ).backups
        self.pool = self.source.pool

    def _store(self, pool, **options):
        values = settings.Settings(
            pool=pool, chunk_size=OBJECT_SIZE, lease_seconds=LEASE_SECONDS, **options
        )
        return self._open.enter_context(
            Store(faults.FaultyCluster(self.world.connect(), self.plan), values)
        )

    def free(self):
        return sorted(set(BACKUPS) - set(self.points))

    # Volumes

    @precondition(lambda machine: len(machine.volumes) < len(VOLUMES))
    @rule(size=sizes, seed=seeds)
    def create(self, size, seed):
        name = next(name for name in VOLUMES if name not in self.volumes)
        self.source.create(name, size)
        self.volumes[name], self.snapshots[name] = bytes(size), {}
        self.write(name, 0, size, seed)

    @if_volumes
    @rule(name=volume, offset=sizes, length=sizes, seed=seeds)
    def write(self, name, offset, length, seed):
        data = self.volumes[name]
        new = pattern(seed, length)[: max(0, len(data) - offset)]
        with self.pool.open(name, read_only=False) as image:
            image.write(min(offset, len(data)), new)
            image.flush()
        self.volumes[name] = data[:offset] + new + data[offset + len(new) :]

    @if_volumes
    @rule(name=volume, offset=sizes, length=sizes)
    def discard(self, name, offset, length):
        data = self.volumes[name]
        with self.pool.open(name, read_only=False) as image:
            image.discard(min(offset, len(data)), length)
            image.flush()
        length = min(length, max(0, len(data) - offset))
        self.volumes[name] = data[:offset] + bytes(length) + data[offset + length :]

    @if_volumes
    @rule(name=volume, more=sizes)
    def grow(self, name, more):
        size = len(self.volumes[name]) + more
        if size <= 2 * MOST:
            self.source.extend(name, size)
            self.volumes[name] = self.volumes[name].ljust(size, b"\0")

    @if_volumes
    @rule(name=volume)
    def snapshot(self, name):
        if "s" not in self.snapshots[name]:
            self.source.create_snapshot(name, "s")
            self.snapshots[name]["s"] = self.volumes[name]

    @if_volumes
    @rule(name=volume, back=st.booleans())
    def end_snapshot(self, name, back):
        """Go back to it first, perhaps, which can make the volume smaller."""
        if "s" in self.snapshots[name]:
            if back:
                self.source.revert_to_snapshot(name, "s")
                self.volumes[name] = self.snapshots[name]["s"]
            self.source.delete_snapshot(name, "s")
            del self.snapshots[name]["s"]

    @if_volumes
    @rule(name=volume)
    def delete_volume(self, name):
        """Backups are in the way of none that has no other snapshots."""
        if not self.snapshots[name]:
            self.source.delete(name)
            del self.volumes[name]

    @if_volumes
    @rule(name=volume)
    def replace_by_clone(self, name):
        """Have a volume that shares its data with a parent."""
        if len(self.volumes) < len(VOLUMES):
            new = next(each for each in VOLUMES if each not in self.volumes)
            self.source.create_cloned_volume(new, name)
            self.volumes[new], self.snapshots[new] = self.volumes[name], {}

    # Backups

    @if_room
    @rule(name=volume, incremental=st.sampled_from(("auto", "auto", False)), cut=cuts)
    def back_up(self, name, incremental, cut):
        self._back_up(name, None, incremental, self.volumes[name], cut)

    @if_room
    @rule(name=volume, cut=cuts)
    def back_up_snapshot(self, name, cut):
        if "s" in self.snapshots[name]:
            self._back_up(name, "s", "auto", self.snapshots[name]["s"], cut)

    def _back_up(self, name, snapshot, incremental, data, cut):
        backup_id = self.free()[0]
        self.used.add(backup_id)
        with self._cut(cut):
            try:
                self.backups.create(
                    self.source, name, backup_id, incremental=incremental, snapshot=snapshot
                )
            except exceptions.Duplicate as error:
                # What increments need of a deleted one has its name.
                if "increments of a deleted backup" not in str(error):
                    raise
        if any(backup.id == backup_id for backup in self.backups.list(name)):
            self.points[backup_id], self.of[backup_id] = data, name

    @contextlib.contextmanager
    def _cut(self, cut):
        """Perhaps have a call of the driver fail."""
        if cut is not None:
            self.plan.fail(cut[0], exceptions.Timeout("injected"), after=cut[1])
        try:
            yield
        except exceptions.Timeout:
            """What became of it is looked at."""
        finally:
            self.plan.stop()

    @if_points
    @rule(backup_id=point, cut=cuts)
    def delete(self, backup_id, cut):
        with self._cut(cut):
            self.backups.delete(backup_id)
        if all(backup.id != backup_id for backup in self.backups.list()):
            del self.points[backup_id]

    @if_volumes
    @rule(name=volume, keep=st.integers(0, 3))
    def prune(self, name, keep):
        mine = [backup.id for backup in self.backups.list(name)]
        assert set(mine) == {key for key in self.points if self.of[key] == name}
        gone = mine[: max(0, len(mine) - keep)]
        assert self.backups.prune(name, keep, volumes=self.source) == gone
        for backup_id in gone:
            del self.points[backup_id]

    @if_points
    @if_volumes
    @rule(backup_id=point, name=volume)
    def restore(self, backup_id, name):
        """To a volume that exists, be it the one that it is of, or another."""
        size = len(self.volumes[name])
        self.backups.restore(backup_id, self.source, name)
        self.volumes[name] = self.points[backup_id].ljust(size, b"\0")
        assert self.read(name) == self.volumes[name]

    @if_points
    @rule(backup_id=point, cut=cuts)
    def check(self, backup_id, cut):
        with self._cut(cut):
            self.backups.restore(backup_id, self.source, "restored")
        self.source.delete("restored")
        self.check_point(backup_id)

    def check_point(self, backup_id):
        verification = self.backups.verify(backup_id)
        assert verification.sound, verification.damage
        self.backups.restore(backup_id, self.source, "restored")
        assert self.read("restored") == self.points[backup_id], backup_id
        self.source.delete("restored")

    def read(self, name):
        with self.pool.open(name) as image:
            return image.read(0, image.size())

    # All of it

    def teardown(self):
        try:
            # After a failure this would hide it.
            if sys.exception() is None and self.used is not None and hasattr(self, "pool"):
                self.end()
        finally:
            self._open.close()
            self.world.clear()

    def end(self):
        for name, data in self.volumes.items():
            assert self.read(name) == data, name
        while self.points:
            for backup_id in self.points:
                self.check_point(backup_id)
            backup_id = self.order.choice(sorted(self.points))
            self.backups.delete(backup_id)
            del self.points[backup_id]
        for name in self.volumes:
            for snapshot in self.snapshots[name]:
                self.source.delete_snapshot(name, snapshot)
        for name in (*VOLUMES, "restored"):
            self.source.delete(name)
        self.use_names_again()
        left = self.world.leftovers()
        assert not left, left

    def use_names_again(self):
        """What would tell one who repeats what was cut off stays until then."""
        beginning = source_snaps.prefix(self.backups._pool)
        for backup_id in self.used:
            self.backups.delete(backup_id)
            name = spec.source_lease(beginning + backup_id)
            with claims.Claim(self.pool, name, ["again"], LEASE_SECONDS, effect="none"):
                """To claim a name is to finish what was cut off."""
