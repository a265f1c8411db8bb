# SPDX-License-Identifier: Apache-2.0
"""Make the pictures in the documentation anew: ``python tools/forest_picture.py``.

A pool of 300 images is planted on the driver ``file`` (tools/orchard.py), its page is written by
``rbdstore tree``, and Chromium is asked what it looks like: all of it in its compact form, and the
upper part of it as it is opened. This needs test-requirements.txt and Pillow, and the profile test
of bindep.txt; with the font Inter it looks best.
"""

import io
import pathlib
import subprocess
import sys
import tempfile

import browser
import orchard
from PIL import Image

IMAGES = pathlib.Path(__file__).parents[1] / "doc" / "source" / "images"
WIDTH = 1980
UPPER = 760
# What has few colours is small, and as sharp.
COLOURS = 48


def main():
    with tempfile.TemporaryDirectory(prefix="rbdstore-") as folder:
        page = write_page(folder)
        with browser.opened(width=WIDTH) as driver:
            driver.get(page.as_uri())
            near = shot(driver)
            keep(near.crop((0, 0, near.width, UPPER)), "forest-near.png")
            driver.find_element("id", "dense").click()
            keep(shot(driver), "forest.png")


def write_page(folder):
    page = pathlib.Path(folder) / "forest.html"
    options = {"file_store_datadir": f"{folder}/pool", "rbd_pool": "volumes"}
    with orchard.planted("file", **options):
        words = ["--driver", "file", "--option", f"rbd_max_clone_depth={orchard.LIMIT}"]
        for name, value in options.items():
            words += ["--option", f"{name}={value}"]
        tree = ["tree", "--format", "html", "--output", str(page)]
        subprocess.run([sys.executable, "-m", "rbdstore.cli", *words, *tree], check=True)
    return page


def shot(driver):
    return Image.open(io.BytesIO(browser.whole_page(driver))).convert("RGB")


def keep(picture, name):
    path = IMAGES / name
    path.parent.mkdir(exist_ok=True)
    few = picture.quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    print(f"{path}: {picture.width} x {picture.height}, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
