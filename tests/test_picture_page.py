# SPDX-License-Identifier: Apache-2.0
"""The page of the forest in a real browser: all is there, apart, and found when looked for."""

import datetime

import browser
import commands
import forests
import orchard
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from rbdstore.legible import printable
from rbdstore.pictures import html, svg
from rbdstore.views import forest

WHEN = datetime.datetime(2026, 11, 30, 10, 15, tzinfo=datetime.UTC)

# The texts that can be seen, and which of them are on one another.
OVERLAPS = """
const seen = [...document.querySelectorAll(arguments[0])].map((each) => {
  const box = each.getBoundingClientRect();
  const {left, right, top, bottom} = box;
  return {text: each.textContent, left, right, top, bottom};
}).filter((box) => box.right > box.left && box.bottom > box.top);
seen.sort((one, other) => one.top - other.top);
const overlaps = [];
seen.forEach((one, number) => {
  for (let next = number + 1; next < seen.length && seen[next].top < one.bottom - 0.5; next++) {
    const other = seen[next];
    if (other.left < one.right - 0.5 && one.left < other.right - 0.5) overlaps.push([one, other]);
  }
});
return [seen.length, overlaps.slice(0, 5)];
"""
LABELS = ".card .name, .depth, .second, .note, .snap span, .limit b, .ruler small, .twisty"

IN_SIGHT = """
const box = arguments[0].querySelector(".card").getBoundingClientRect();
const down = box.top >= 0 && box.bottom <= innerHeight;
return down && box.width > 0 && box.left >= 0 && box.right <= innerWidth;
"""


class Page:
    """A page that is open."""

    def __init__(self, driver, path):
        self.driver = driver
        driver.get(path.as_uri())

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def click(self, element_id):
        self.driver.find_element(By.ID, element_id).click()

    def press(self, *keys):
        ActionChains(self.driver).send_keys(*keys).perform()

    def shown(self):
        """The names of all that can be seen."""
        return self.run(
            "return [...document.querySelectorAll('[role=treeitem]')]"
            ".filter((item) => item.offsetParent)"
            ".map((item) => item.querySelector('.name').textContent)"
        )

    def overlaps(self, labels=LABELS):
        count, found = self.run(OVERLAPS, labels)
        assert count
        return found

    def find(self, text):
        """Look for a text; return the item that is shown then."""
        self.run("document.getElementById('search').value = ''")
        self.driver.find_element(By.ID, "search").send_keys(text)
        (here,) = self.all(".here")
        assert self.run(IN_SIGHT, here)
        return here

    def name(self, item):
        return self.run("return arguments[0].querySelector('.name').textContent", item)

    def item(self, name):
        """The card of that name, wherever it is."""
        return self.run(
            "return [...document.querySelectorAll('[role=treeitem]')]"
            ".find((item) => item.querySelector('.name').textContent === arguments[0])",
            name,
        )

    def hits(self):
        return self.driver.find_element(By.ID, "hits").text

    def focused(self):
        return self.run("return document.activeElement.querySelector('.name')?.textContent")


@pytest.fixture(scope="module")
def driver():
    with browser.opened() as opened:
        yield opened


@pytest.fixture(autouse=True)
def _nothing_is_said(driver):
    yield
    assert driver.get_log("browser") == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def pool(folder):
    """The page of a pool of 300 images, three chains of them beyond the limit; and the forest."""
    options = {"file_store_datadir": str(folder / "pool"), "rbd_pool": "volumes"}
    written = folder / "pool.html"
    with orchard.planted("file", **options) as store:
        words = ["--driver", "file", "--option", f"rbd_max_clone_depth={orchard.LIMIT}"]
        words += [word for option in options.items() for word in ("--option", "=".join(option))]
        ended = commands.run(*words, "tree", "--format", "html", "--output", str(written))
        assert (ended.status, ended.out, ended.err) == (0, "", "")
        yield written, store.forest()


@pytest.fixture(scope="module")
def opened(driver, pool):
    return Page(driver, pool[0])


@pytest.fixture
def page(opened):
    """The page as it was when it was opened."""
    opened.press(Keys.ESCAPE, Keys.ESCAPE)
    opened.click("expand")
    opened.run("scrollTo(0, 0)")
    return opened


def test_every_image_is_there(page, pool):
    assert sorted(page.shown()) == sorted(tree.name for tree in pool[1])
    assert len(page.shown()) == orchard.COUNT


def test_chains_beyond_the_limit_are_marked(page, pool):
    deep = page.all(".item.deep")
    assert len(deep) == sum(tree.is_too_deep for tree in pool[1]) == 6
    for item in deep:
        assert "deeper than allowed" in item.text
        assert "deeper than allowed" in item.get_attribute("aria-label")
    assert [each.text for each in page.all(".tree.over > .limit b")] == ["limit 5"] * 3
    assert len(page.all(".tree.over")) == len(orchard.CHAINS)


def test_no_two_labels_overlap(driver, page):
    assert page.overlaps() == []
    driver.set_window_size(700, 1000)
    assert page.overlaps() == []
    driver.set_window_size(1600, 1000)
    page.click("dense")
    assert page.overlaps() == []
    page.click("collapse")
    assert len(page.shown()) == 141
    assert page.overlaps() == []
    page.click("dense")
    assert page.overlaps() == []


def test_what_is_looked_for_is_found(page):
    page.click("collapse")
    assert "db-8" not in page.shown()
    found = page.find("db-8")
    assert page.hits() == "1 of 1"
    assert page.name(found) == "db-8"
    page.find("web-00")
    assert page.hits() == "1 of 9"
    page.press(Keys.ENTER)
    assert page.hits() == "2 of 9"
    # A snapshot is found at what it is of.
    assert "erp" in page.find("nightly-tue").text
    page.press(Keys.ESCAPE)
    assert page.hits() == ""
    assert page.all(".found") == []


def test_figures_lead_to_what_they_count(page):
    page.click("collapse")
    (button,) = page.all("[data-mark=open]")
    button.click()
    assert page.hits() == "1 of 2"
    button.click()
    assert page.hits() == "2 of 2"


def test_folding_with_the_mouse(page):
    db = page.item("db-2")
    twisty = db.find_element(By.CSS_SELECTOR, ".twisty")
    twisty.click()
    assert db.get_attribute("aria-expanded") == "false"
    assert "db-3" not in page.shown()
    # What is out of sight and too deep is not forgotten. The sign before it is of the style.
    assert twisty.text == "9, 3 too deep"
    twisty.click()
    assert "db-8" in page.shown()


def test_folding_with_keys(page):
    page.run("arguments[0].focus()", page.item("db-0"))
    page.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert page.focused() == "db-2"
    page.press(Keys.ARROW_LEFT)
    assert "db-3" not in page.shown()
    assert page.focused() == "db-2"
    page.press(Keys.SPACE)
    assert "db-3" in page.shown()
    page.press(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert page.focused() == "db-1"
    page.press(Keys.END)
    assert page.focused() == page.shown()[-1]


def test_what_is_known_of_one_is_told(page):
    page.find("db-8").find_element(By.CSS_SELECTOR, ".card").click()
    told = page.driver.find_element(By.ID, "about").text
    assert "volumes/db-7@" in told
    assert "8 (the limit is 5)" in told
    assert "Open by\npid " in told
    page.press(Keys.ESCAPE)
    assert not page.driver.find_element(By.ID, "about").is_displayed()


def test_the_sheet(driver, folder, pool):
    written = folder / "sheet.svg"
    written.write_text(svg.draw(pool[1], WHEN))
    sheet = Page(driver, written)
    assert len(sheet.all(".card")) == orchard.COUNT
    assert sheet.overlaps("text:not(.heading)") == []


def test_a_thousand(driver, folder):
    written = folder / "thousand.html"
    written.write_text(html.draw(forests.thousand(), WHEN))
    page = Page(driver, written)
    assert len(page.shown()) == 1000
    assert page.overlaps() == []
    name = page.shown()[500]
    page.click("collapse")
    assert page.overlaps() == []
    assert (
        page.find(name).find_element(By.CSS_SELECTOR, ".name").get_attribute("textContent") == name
    )


def test_names_are_not_obeyed(driver, folder):
    found = forest.grow([forests.alone(name) for name in forests.HOSTILE], forests.LIMITS)
    written = folder / "hostile.html"
    written.write_text(html.draw(found, WHEN))
    page = Page(driver, written)
    assert driver.title == "Clone forest: volumes"
    assert sorted(page.shown()) == sorted(map(printable, forests.HOSTILE))
    for item in page.all(".card"):
        item.click()
    assert driver.title == "Clone forest: volumes"
    assert len(page.all("script, img")) == 2
