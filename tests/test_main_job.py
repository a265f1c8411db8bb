# SPDX-License-Identifier: Apache-2.0
"""The main job on the embedded driver, and that it notices what it is there to notice."""

import importlib
import os
import subprocess
import sys

import filestore
import pytest
import readme
from filestore import MiB

EXAMPLES = readme.ROOT / "examples"


@pytest.fixture
def example(monkeypatch):
    """Give the examples' modules by name, as the main job imports them."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module


@pytest.fixture
def job(example, tmp_path):
    """A ground, a cluster on it, and the error that the job ends with."""
    cluster = filestore.connect(tmp_path)
    yield example("file_ground").FileGround(tmp_path), cluster, example("steps").Mismatch
    cluster.close()


def test_main_job_needs_no_ceph(tmp_path):
    for name in ("rados", "rbd"):
        (tmp_path / f"{name}.py").write_text("raise AssertionError('Ceph is imported')\n")
    done = subprocess.run(
        [sys.executable, EXAMPLES / "main_job.py", "--driver", "file", "--size", "16"],
        # Not one of Ceph's commands is on this path.
        env={**os.environ, "PYTHONPATH": str(tmp_path), "PATH": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert "All as it should be" in done.stdout


class TestFileGround:
    def test_reads_images_and_snaps_in_another_process(self, job):
        ground, cluster, mismatch = job
        pool = cluster.open_pool("volumes")
        filestore.fill(pool, "a", b"data", size=MiB)
        with pool.open("a", read_only=False) as image:
            image.create_snap("s")
        before = ground.digest("volumes/a")
        assert ground.digest("volumes/a", 4) == ground.digest("volumes/a@s", 4)
        ground.scribble("volumes/a")
        assert ground.digest("volumes/a") != before == ground.digest("volumes/a@s")
        with pytest.raises(mismatch, match="not zero behind its first 4 bytes"):
            ground.digest("volumes/a", 4)

    def test_finds_rows_that_are_left(self, job):
        ground, cluster, mismatch = job
        ground.check_empty()
        cluster.open_pool("volumes").set_keys("key", {"a": b"b"})
        with pytest.raises(mismatch, match="left in the table entries: "):
            ground.check_empty()

    def test_finds_files_that_are_left(self, job, tmp_path):
        ground, _cluster, mismatch = job
        (tmp_path / "pools" / "1").mkdir()
        (tmp_path / "pools" / "1" / "0").touch()
        with pytest.raises(mismatch, match=r"left of files: .*/pools/1/0"):
            ground.check_empty()


class TestTarImage:
    """What is uploaded where the tools for a file system are missing."""

    @pytest.fixture
    def image(self, example, tmp_path):
        image = example("disk_image").TarImage(tmp_path, MiB)
        (image.tree / "folder").mkdir(parents=True)
        (image.tree / "folder" / "a").write_bytes(b"a" * 1000)
        (image.tree / "b").write_bytes(b"")
        image.pack()
        return image

    def test_a_longer_copy_is_compared(self, image):
        with image.file.open("ab") as copy:
            copy.truncate(2 * MiB)
        assert image.compare(image.file) == 2

    def test_a_changed_file_is_noticed(self, example, image):
        (image.tree / "folder" / "a").write_bytes(b"a" * 999 + b"b")
        with pytest.raises(example("steps").Mismatch, match="folder/a is not the same"):
            image.compare(image.file)

    def test_a_missing_file_is_noticed(self, example, image):
        (image.tree / "c").write_bytes(b"")
        with pytest.raises(example("steps").Mismatch, match="not in the cloned archive: c"):
            image.compare(image.file)
