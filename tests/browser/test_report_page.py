"""The page as a browser has it: it asks for nothing, runs nothing, keeps nobody out, and a keyboard opens its numbers.

In headless Chromium, scripts switched off where no law needs them. Of a page made by hand, with hostile strings in its
records, and of the committed one.
"""

import os
import re
import shutil
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

from fedgrid.audit.report import page as made
from tests import handmade
from tests.test_report import FINDINGS

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine: `apt-get install chromium`")


@pytest.fixture(scope="module")
def browser():
    root = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium has none for root
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=root)
        yield running
        running.close()


@pytest.fixture(scope="module")
def hand(tmp_path_factory):
    """The page of the campaign made by hand."""
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        artefact = handmade.declare(folder)
        (folder / "report.html").write_text(made([artefact], handmade.write(artefact, folder), FINDINGS))
    return folder / "report.html"


@pytest.fixture(params=["made by hand", "committed"])
def path(request, hand):
    return hand if request.param == "made by hand" else handmade.ROOT / "results/report.html"


@pytest.fixture
def opened(browser):
    """Opens a page in a context of its own and collects what it asks for and complains of."""
    contexts = []

    def opening(path: Path, viewport=DESK, **how):
        context = browser.new_context(viewport=viewport, **how)
        contexts.append(context)
        page = context.new_page()
        page.asked, page.said = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("dialog", lambda dialog: page.said.append(dialog.message))
        page.goto(path.as_uri())
        return page

    yield opening
    for context in contexts:
        context.close()


def unfold(page):
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")


def test_no_request_leaves_and_nothing_is_complained_of(opened, path):
    page = opened(path)
    unfold(page)
    page.locator("button[popovertarget]").first.click()
    page.wait_for_load_state("networkidle")
    assert page.asked[0] == path.as_uri()
    assert [url.partition(",")[0] for url in page.asked[1:] if not url.startswith("data:")] == []
    assert page.said == []


@pytest.mark.parametrize(("scheme", "viewport"), [("light", DESK), ("dark", PHONE)], ids=["light", "dark"])
def test_axe_finds_nothing_on_the_unfolded_page_nor_in_an_opened_number(opened, path, scheme, viewport):
    page = opened(path, viewport, color_scheme=scheme)
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert dark == (scheme == "dark")
    for act in (lambda: unfold(page), lambda: page.locator("td button").first.click()):
        act()
        found = Axe().run(page).response["violations"]
        assert [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found] == []


def test_a_phone_does_not_scroll_sideways(opened, path):
    page = opened(path, PHONE)
    unfold(page)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    page.locator("td button").first.click()
    width = page.evaluate("document.querySelector(':popover-open').scrollWidth")
    assert width <= PHONE["width"] and page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


def test_what_is_wider_than_a_phone_scrolls_by_keyboard_in_its_own_box(opened, hand):
    box = opened(hand, PHONE).get_by_role("region", name="Table 0: the table")
    assert box.evaluate("one => one.scrollWidth > one.clientWidth")
    box.focus()
    box.press("ArrowRight")
    box.page.wait_for_function("one => one.scrollLeft > 0", arg=box.element_handle())


def test_a_keyboard_alone_opens_a_number_and_returns_to_it_without_scripts(opened, path):
    page = opened(path, java_script_enabled=False)
    first = page.locator("td button").first
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the results")).to_be_focused()
    for _ in range(200):
        page.keyboard.press("Tab")
        if first.evaluate("one => one === document.activeElement"):
            break
    expect(first).to_be_focused()
    account = page.locator(f"[id='{first.get_attribute('popovertarget')}']")
    expect(account).to_be_hidden()
    page.keyboard.press("Enter")
    expect(account).to_be_visible()
    expect(account.locator("summary").first).to_have_text(re.compile(r"results/cells/\w+/[\w.-]+\.json"))
    expect(account.get_by_text("git checkout").first).to_be_visible()
    page.keyboard.press("Escape")
    expect(account).to_be_hidden()
    expect(first).to_be_focused()


def test_every_measured_number_opens_its_own_account(opened, path):
    page = opened(path)
    unfold(page)
    numbers = page.locator("td button")
    assert numbers.count() > 0
    for i in range(numbers.count()):
        number = numbers.nth(i)
        number.click()
        account = page.locator(":popover-open")
        assert account.get_attribute("id") == number.get_attribute("popovertarget")
        assert account.locator("dl.said dd").first.inner_text() == number.inner_text()
        page.keyboard.press("Escape")
    assert page.locator(":popover-open").count() == 0


def test_hostile_strings_of_a_record_are_shown_and_do_not_run(opened, hand):
    """Without the page's policy too, which would forbid them."""
    page = opened(hand, bypass_csp=True)
    unfold(page)
    page.locator("td button").first.click()
    expect(page.locator(":popover-open").get_by_text(handmade.HOSTILE).first).to_be_visible()
    assert page.title() == "fedgrid: every number beside the paper's"
    assert page.locator("script, img:not([alt])").count() == 0 and page.said == []


def test_the_drawing_has_the_page_s_colours_by_day_and_by_night(opened, hand):
    """A corner of the drawing is of the page's ground, and its axes are not."""
    for scheme, ground in (("light", [253, 252, 249]), ("dark", [20, 20, 20])):
        page = opened(hand, color_scheme=scheme)
        image = page.locator("figure img")
        image.scroll_into_view_if_needed()
        colours = page.evaluate(PIXELS, image.evaluate("one => one.src"))
        assert colours["ground"][3] == 0 or colours["ground"][:3] == ground
        assert (colours["ink"] > 128) == (scheme == "dark")


# The first pixel of an image, and the mean brightness of those that are opaque and without a hue.
PIXELS = """async source => {
  const image = new Image(); image.src = source; await image.decode();
  const canvas = document.createElement('canvas'); canvas.width = image.width; canvas.height = image.height;
  const drawing = canvas.getContext('2d'); drawing.drawImage(image, 0, 0);
  const data = drawing.getImageData(0, 0, canvas.width, canvas.height).data;
  let sum = 0, count = 0;
  for (let i = 0; i < data.length; i += 4)
    if (data[i + 3] === 255 && Math.abs(data[i] - data[i + 2]) < 16) { sum += data[i]; count += 1; }
  return {ground: Array.from(data.slice(0, 4)), ink: sum / count};
}"""
