# SPDX-License-Identifier: Apache-2.0
"""A browser without a window, to test and to see what is drawn."""

import base64
import contextlib
import shutil
import tempfile

from selenium import webdriver

_ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--force-prefers-reduced-motion",
)


@contextlib.contextmanager
def opened(width=1600, height=1000, *arguments):
    """Debian's Chromium, with a profile of its own. It is not asked to find one by itself.

    :raises RuntimeError: there is none
    """
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        raise RuntimeError("there is no chromium with chromium-driver (bindep.txt, profile test)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(prefix="rbdstore-", ignore_cleanup_errors=True) as profile:
        for argument in (*_ARGUMENTS, f"--user-data-dir={profile}", *arguments):
            options.add_argument(argument)
        browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
        try:
            browser.set_window_size(width, height)
            yield browser
        finally:
            browser.quit()


def whole_page(browser):
    """All of a page, as a PNG."""
    size = browser.execute_script(
        "const all = document.documentElement; return [all.scrollWidth, all.scrollHeight]"
    )
    clip = {"x": 0, "y": 0, "width": size[0], "height": size[1], "scale": 1}
    shot = browser.execute_cdp_cmd(
        "Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip}
    )
    return base64.b64decode(shot["data"])
