# SPDX-License-Identifier: Apache-2.0
"""The file driver with several users at once: threads, processes, forks, and those who are killed.

Nothing here waits for a time to pass: the processes say what they have done, or wait to be told.
"""

import concurrent.futures
import itertools
import time

import filestore
import pytest
from filestore import KiB, MiB

from rbdstore import driver, exceptions


@pytest.fixture
def cluster(tmp_path):
    cluster = filestore.connect(tmp_path)
    yield cluster
    cluster.close()


@pytest.fixture
def pool(cluster):
    pool = cluster.open_pool("volumes")
    yield pool
    filestore.remove_all(pool)
    assert cluster.leftovers() == []


BLOCK = 64 * KiB
BLOCKS = 8

# Writes, snapshots, clones, flattens and removes for ever, saying each thing when it is done.
BUSY = f"""
import itertools

pool.create("a", {BLOCK * BLOCKS}, order=16)
with pool.open("a", read_only=False) as image:
    for n in itertools.count():
        image.write(n % {BLOCKS} * {BLOCK}, b"%08d" % n * ({BLOCK} // 8))
        say(f"written {{n}}")
        if n % 3 == 0:
            image.create_snap(f"s{{n}}")
            say(f"snap {{n}}")
        if n % 3 == 1:
            pool.clone(pool, "a", f"s{{n - 1}}", f"c{{n}}")
            say(f"clone {{n}}")
        if n % 6 == 5:
            with pool.open(f"c{{n - 4}}", read_only=False) as clone:
                clone.flatten()
            say(f"flat {{n - 4}}")
        if n % 6 == 2 and n > 6:
            image.remove_snap(driver.find_snap(image, f"s{{n - 8}}").id)
            say(f"gone {{n - 8}}")
"""


def written(last):
    """What the image holds when the writes up to ``last`` are done."""
    content = bytearray(BLOCK * BLOCKS)
    for n in range(max(0, last - BLOCKS + 1), last + 1):
        content[n % BLOCKS * BLOCK : (n % BLOCKS + 1) * BLOCK] = b"%08d" % n * (BLOCK // 8)
    return bytes(content)


class TestKilled:
    @pytest.mark.parametrize("lines", [1, 2, 3, 5, 8, 13, 21, 34, 55, 89])
    def test_what_was_said_to_be_done_is_done(self, tmp_path, pool, lines):
        said = []
        with filestore.process(tmp_path, BUSY) as child:
            for _ in range(lines):
                said.append(child.line().split())
            child.kill()
            said += [line.split() for line in child.heard()]
        done = {kind: {int(n) for k, n in said if k == kind} for kind, _n in said}
        self.check_image(pool, max(done["written"]), done)
        for name in {f"c{n}" for n in done.get("clone", ())} | set(pool.list_images()) - {"a"}:
            assert filestore.content(pool, name) == written(int(name[1:]) - 1)
            with pool.open(name) as clone:
                assert clone.parent() is None or int(name[1:]) not in done.get("flat", ())
        # Whoever comes next can go on with it, and leaves nothing of what was begun.
        after = filestore.connect(tmp_path)
        filestore.remove_all(after.open_pool("volumes"))
        assert after.leftovers() == []
        after.close()

    @staticmethod
    def check_image(pool, last, done):
        content = filestore.content(pool, "a")
        expected = written(last)
        # The next write may have been done, or begun.
        for block in set(range(BLOCKS)) - {(last + 1) % BLOCKS}:
            part = slice(block * BLOCK, (block + 1) * BLOCK)
            assert content[part] == expected[part]
        with pool.open("a") as image:
            assert image.watchers() == []
            snaps = {snap.name: snap.id for snap in image.snaps()}
        assert {f"s{n}" for n in done.get("snap", set()) - done.get("gone", set())} - set(
            snaps
        ) <= {f"s{max(done.get('gone', {-6})) + 6}"}
        assert not {f"s{n}" for n in done.get("gone", ())} & set(snaps)
        for name, snap_id in snaps.items():
            assert filestore.content(pool, "a", snap_id) == written(int(name[1:]))

    def test_folders_that_nothing_needs_are_swept(self, tmp_path, pool, cluster):
        filestore.fill(pool, "a", b"data")
        folder = cluster.data.image_folder(pool.number, 1)
        with cluster.data.database.writing() as tx:
            # What somebody leaves who is killed after the removal, before the files are gone.
            tx.execute("DELETE FROM images")
            cluster.data.discard(tx, folder)
        (tmp_path / "tmp" / "half-made").write_text("x")
        assert len(filestore.files(tmp_path)) > 1
        filestore.connect(tmp_path).close()
        assert filestore.files(tmp_path) == []

    def test_what_somebody_is_making_is_not_swept(self, tmp_path, cluster, pool):
        code = """
        from rbdstore.drivers.file import locks
        with locks.temporary(cluster.data.temporary):
            say("made")
            wait()
        """
        with filestore.process(tmp_path, code) as child:
            child.hear("made")
            filestore.connect(tmp_path).close()
            assert len(filestore.files(tmp_path)) == 1
            child.kill()
            filestore.connect(tmp_path).close()
        assert filestore.files(tmp_path) == []


class TestWatchers:
    HOLD = """
    image = pool.open("a", read_only=False)
    image.lock()
    say("open")
    wait()
    """

    def test_one_ends_with_its_process(self, tmp_path, pool):
        filestore.fill(pool, "a", b"data")
        with filestore.process(tmp_path, self.HOLD) as child:
            child.hear("open")
            with pool.open("a", read_only=False) as image:
                assert len(image.watchers()) == 2
                with pytest.raises(exceptions.ReadOnly):
                    image.write(0, b"mine")
                with pytest.raises(exceptions.InUse):
                    image.lock()
            for remove in (pool.remove, pool.trash_move):
                with pytest.raises(exceptions.InUse) as caught:
                    remove("a")
                assert len(caught.value.watchers) == 1
            child.kill()
            with pool.open("a", read_only=False) as image:
                assert len(image.watchers()) == 1
                image.lock()
                image.write(0, b"mine")
            with pool.open("a") as reader:
                assert reader.watchers() == []

    def test_one_ends_with_its_process_though_that_has_a_child(self, tmp_path, pool):
        filestore.fill(pool, "a", b"data")
        code = """
        image = pool.open("a", read_only=False)
        turnstile = image.turnstile.alone()
        turnstile.__enter__()
        if not os.fork():
            say("forked")
            wait()
            os._exit(0)
        os.wait()
        """
        with filestore.process(tmp_path, code) as child:
            child.hear("forked")
            with pool.open("a", read_only=False) as image:
                assert len(image.watchers()) == 2
                child.kill()
                # The child is alive: it waits for the end of its input.
                assert len(image.watchers()) == 1
                image.write(0, b"mine")

    def test_handles_of_one_process_see_each_other(self, pool):
        filestore.fill(pool, "a", b"data")
        with pool.open("a", read_only=False) as one, pool.open("a", read_only=False) as two:
            assert len(set(one.watchers())) == 2
            one.lock()
            with pytest.raises(exceptions.ReadOnly):
                two.write(0, b"mine")
            one.close()
            two.write(0, b"mine")
            assert two.watchers() == [two.address]

    def test_a_forgotten_handle_is_closed(self, pool):
        filestore.fill(pool, "a", b"data")
        pool.open("a", read_only=False)
        with pool.open("a") as reader:
            assert reader.watchers() == []

    def test_one_that_is_forgotten_in_a_transaction_waits_for_nothing(self, cluster, pool):
        filestore.fill(pool, "a", b"data")
        image = pool.open("a", read_only=False)
        image.lock()
        begun = time.monotonic()
        with cluster.data.database.writing():
            del image
        assert time.monotonic() - begun < cluster.data.timeout
        with pool.open("a", read_only=False) as other:
            other.lock()


class TestFork:
    def test_a_child_has_nothing_of_its_parents(self, tmp_path, pool):
        filestore.fill(pool, "a", b"data", size=MiB)
        code = """
        import threading

        image = pool.open("a", read_only=False)
        stop = threading.Event()

        def work():
            while not stop.is_set():
                pool.set_keys("k", {"a": b"b"})

        threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        for turn in range(5):
            child = os.fork()
            if not child:
                try:
                    image.write(0, b"child")
                except exceptions.Unreachable as error:
                    assert "fork" in str(error)
                image.close()
                pool.create(f"by-child-{turn}", 1 << 20)
                with pool.open("a", read_only=False) as own:
                    own.write(turn, b"c")
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            pool.create(f"by-parent-{turn}", 1 << 20)
        stop.set()
        for thread in threads:
            thread.join()
        assert len(image.watchers()) == 1
        image.write(5, b"p")
        say(image.read(0, 6).decode())
        """
        with filestore.process(tmp_path, code) as child:
            child.hear("cccccp")
            child.join()
        assert len(pool.list_images()) == 11
        pool.remove_object("k")

    def test_a_child_leaves_its_parents_lock(self, tmp_path, pool):
        filestore.fill(pool, "a", b"data")
        code = """
        image = pool.open("a", read_only=False)
        image.lock()
        if not (child := os.fork()):
            image.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        say("closed")
        wait()
        """
        with filestore.process(tmp_path, code) as child:
            child.hear("closed")
            with (
                pool.open("a", read_only=False) as image,
                pytest.raises(exceptions.ReadOnly, match="locked by"),
            ):
                image.write(0, b"mine")

    def test_a_child_outlives_its_parent(self, tmp_path, pool):
        code = """
        pool.create("a", 1 << 20)
        if os.fork():
            os._exit(0)
        pool.create("b", 1 << 20)
        say("made")
        wait()
        pool.create("d", 1 << 20)
        say("made too")
        """
        with filestore.process(tmp_path, code) as child:
            child.hear("made")
            pool.create("c", MiB)
            child.go()
            child.hear("made too")
        assert pool.list_images() == ["a", "b", "c", "d"]


class TestAtOnce:
    def test_a_snap_is_of_one_moment(self, tmp_path, pool):
        """Of two blocks that are written in turn, it never has the second before the first."""
        filestore.fill(pool, "a", b"%08d" % 0, size=8 * MiB)
        code = """
        import itertools
        with pool.open("a", read_only=False) as image:
            for n in itertools.count(1):
                image.write(0, b"%08d" % n)
                image.write(4 << 20, b"%08d" % n)
                if n == 10:
                    say("busy")
        """
        with (
            filestore.process(tmp_path, code) as one,
            pool.open("a", read_only=False) as image,
        ):
            one.hear("busy")
            seen = []
            for turn in range(12):
                image.create_snap(f"s{turn}")
                if turn % 3 == 2:
                    image.remove_snap(image.snaps()[0].id)
            one.kill()
            for snap in image.snaps():
                image.set_snap(snap.id)
                first, second = int(image.read(0, 8)), int(image.read(4 * MiB, 8))
                assert first - second in (0, 1)
                seen.append(first)
            assert seen == sorted(seen)
            image.set_snap(None)

    def test_many_processes(self, tmp_path, pool):
        filestore.fill(pool, "a", b"parent", size=8 * MiB)
        with pool.open("a", read_only=False) as image:
            image.create_snap("s")
        code = """
        for turn in range(8):
            name = f"c{os.getpid()}-{turn}"
            pool.clone(pool, "a", "s", name)
            with pool.open(name, read_only=False) as clone:
                clone.write(4 << 20, name.encode())
                clone.create_snap("x")
                clone.write(6, b"more")
                if turn % 2:
                    clone.flatten()
                clone.rollback("x")
                assert clone.read(0, 10) == b"parent" + bytes(4)
                assert clone.read(4 << 20, len(name)) == name.encode()
                clone.remove_snap(clone.snaps()[0].id)
            pool.remove(name)
        """
        with (
            filestore.process(tmp_path, code) as one,
            filestore.process(tmp_path, code) as two,
            filestore.process(tmp_path, code) as three,
        ):
            for child in (one, two, three):
                child.join()
        assert pool.list_images() == ["a"]

    def test_many_threads(self, pool):
        filestore.fill(pool, "a", b"parent", size=8 * MiB)
        with pool.open("a", read_only=False) as image:
            image.create_snap("s")

        def work(number):
            name = f"c{number}"
            pool.clone(pool, "a", "s", name)
            with pool.open(name, read_only=False) as clone:
                clone.write(MiB, name.encode())
                clone.flush()
                assert clone.read(0, 6) == b"parent"
            pool.remove(name)

        with concurrent.futures.ThreadPoolExecutor(16) as threads:
            list(threads.map(work, range(60)))

    def test_reads_beside_everything(self, tmp_path, pool):
        """What a child reads through its parent is the same, whatever happens to the parent."""
        data = bytes(itertools.islice(itertools.cycle(range(251)), 3 * MiB))
        filestore.fill(pool, "a", data)
        with pool.open("a", read_only=False) as image:
            image.create_snap("s")
            pool.clone(pool, "a", "s", "c")
        code = """
        import itertools
        with pool.open("a", read_only=False) as image:
            for n in itertools.count():
                image.create_snap("t")
                image.discard(0, 2 << 20)
                image.write(5, b"x" * 100)
                image.rollback("s")
                image.remove_snap(driver.find_snap(image, "t").id)
                if n == 2:
                    say("busy")
        """
        with filestore.process(tmp_path, code) as busy, pool.open("c") as clone:
            busy.hear("busy")
            for _ in range(30):
                assert clone.read(0, len(data)) == data
            busy.kill()

    def test_who_waits_too_long_is_told(self, tmp_path, pool):
        impatient = filestore.connect(tmp_path, file_store_timeout=1)
        filestore.fill(pool, "a", b"data")
        other = impatient.open_pool("volumes")
        with (
            pool.cluster.data.database.writing(),
            pytest.raises(exceptions.Timeout) as caught,
        ):
            other.create("b", MiB)
        assert caught.value.spec == other.spec("b")
        with pool.open("a", read_only=False) as one, other.open("a", read_only=False) as two:
            with one.turnstile.shared(), pytest.raises(exceptions.Timeout):
                two.create_snap("s")
            two.create_snap("s")
            assert [snap.name for snap in one.snaps()] == ["s"]
            assert driver.find_snap(one, "s").size == 4
        impatient.close()
