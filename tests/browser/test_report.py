"""What a person sees who opens a sweep's report, in headless Chromium."""

import base64
import functools
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from report.analysing import analyse
from report.conftest import HOSTILE
from slow_cases import slow
from sweeps.making import GRID_SPACE, MANY_SPACE, grid, job, search, write_sweep

from mlplab.report.report_files import write_report

pytest.importorskip("selenium", reason="selenium, which drives the browser, is not installed")

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on the PATH"),
    pytest.mark.skipif(CHROMEDRIVER is None, reason="there is no chromedriver on the PATH"),
]

Browser = Any
Open = Callable[..., Browser]

COLUMN = """
const table = document.querySelectorAll('#leaderboard table')[0];
const heads = Array.from(table.tHead.rows[1].cells);
const column = heads.findIndex(head => head.textContent === arguments[0]);
return Array.from(table.tBodies[0].rows)
  .filter(row => row.offsetParent !== null).map(row => row.cells[column].textContent);
"""
"""What stands in a column of the leaderboard, of the rows that are shown."""

CONTRASTS = """
const luminance = colour => {
  const parts = colour.match(/[0-9.]+/g).slice(0, 3).map(part => part / 255)
    .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
};
const behind = node => {
  for (let at = node; at; at = at.parentElement) {
    const colour = getComputedStyle(at).backgroundColor;
    if (!colour.startsWith('rgba(0, 0, 0, 0')) return colour;
  }
  return 'rgb(255, 255, 255)';
};
const found = [];
for (const node of document.querySelectorAll('body *')) {
  const text = Array.from(node.childNodes).some(child => child.nodeType === 3 && child.textContent.trim());
  if (!text || node.closest('script, style') || node.offsetParent === null && !node.closest('svg')) continue;
  const colour = node.closest('svg') ? getComputedStyle(node).fill : getComputedStyle(node).color;
  if (colour === 'rgb(0, 0, 1)' || colour === 'rgb(255, 255, 254)') continue; // on coloured cells
  const [a, b] = [luminance(colour), luminance(behind(node))].sort((x, y) => y - x);
  found.push([(a + 0.05) / (b + 0.05), node.tagName, node.textContent.slice(0, 30)]);
}
return found.sort((x, y) => x[0] - y[0]);
"""
"""Contrast of every text with what is behind it, the least first."""


@pytest.fixture(scope="module")
def page_of(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Callable[[str], str]:
    """Writes a report when it is first wanted; gives its address."""
    folder = tmp_path_factory.mktemp("reports")
    hostile = [
        job(n, {"optimizer": text, text: n}, 0.1 + n, state="failed" if n % 5 == 4 else "finished", reason=text)
        for n, text in enumerate(HOSTILE)
    ]
    write: dict[str, Callable[[Path], Path]] = {
        "grid": lambda path: write_sweep(path, grid(), space=GRID_SPACE),
        "search": lambda path: write_sweep(path, search(130, epochs=10), space=MANY_SPACE, sweeper="optuna"),
        "hostile": lambda path: write_sweep(path, hostile, constants=list(HOSTILE), sweeper=HOSTILE[1]),
    }

    @functools.cache
    def address(name: str) -> str:
        return write_report(analyse(write[name](folder / name)), root)["report"].as_uri()

    return address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Keeps what its console says, and every request."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    with tempfile.TemporaryDirectory() as profile:  # without one of its own, tests beside this one share one
        for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", f"--user-data-dir={profile}"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(CHROMEDRIVER))
        yield driver
        driver.quit()


@pytest.fixture
def opened(browser: Browser, page_of: Callable[[str], str]) -> Open:
    """Opens a report on a screen of some width, light or dark."""

    def open_page(name: str, *, width: int = 1200, dark: bool = False) -> Browser:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        wishes = {"prefers-color-scheme": "dark" if dark else "light", "prefers-reduced-motion": "reduce"}
        features = [{"name": name, "value": value} for name, value in wishes.items()]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        for kind in ("browser", "performance"):
            browser.get_log(kind)  # what earlier tests have left
        address = page_of(name)
        browser.get(address)
        ready = "return document.body?.dataset.drawn !== undefined && location.href === arguments[0]"
        WebDriverWait(browser, 30).until(lambda page: page.execute_script(ready, address))  # on a busy machine
        return browser

    return open_page


def head(page: Browser, text: str) -> Any:
    heads = page.find_elements(By.CSS_SELECTOR, "#leaderboard table")[0].find_elements(By.CSS_SELECTOR, "tr + tr th")
    return next(element for element in heads if element.text.strip() == text)


@pytest.mark.parametrize("name", ["grid", *slow("search", "hostile")])
def test_the_console_is_silent_and_no_request_leaves_the_page(
    opened: Open, page_of: Callable[[str], str], name: str
) -> None:
    page = opened(name)
    for button in page.find_elements(By.CSS_SELECTOR, "th button"):
        page.execute_script("arguments[0].click()", button)
    assert page.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith("data:")] == [page_of(name)]


@pytest.mark.slow
def test_what_would_ask_the_network_is_stopped_by_the_page_itself(opened: Open) -> None:
    page = opened("grid")
    page.execute_script(
        "const image = new Image(); image.src = 'http://127.0.0.1:9/x.png'; document.body.append(image);"
    )
    page.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s);"
    )
    assert page.execute_script("return window.ran") is None
    told = " ".join(entry["message"] for entry in page.get_log("browser"))
    assert "img-src" in told
    assert "script-src" in told


@pytest.mark.slow
def test_a_click_sorts_and_a_second_one_turns(opened: Open) -> None:
    page = opened("grid")
    assert page.execute_script(COLUMN, "#") == [str(n) for n in range(1, 9)]
    head(page, "val/loss").find_element(By.TAG_NAME, "button").click()
    assert head(page, "val/loss").get_attribute("aria-sort") == "ascending"
    rising = page.execute_script(COLUMN, "val/loss")
    assert rising[-1] == "–"
    assert [float(text.split()[0]) for text in rising[:-1]] == sorted(float(text.split()[0]) for text in rising[:-1])
    head(page, "val/loss").find_element(By.TAG_NAME, "button").click()
    assert head(page, "val/loss").get_attribute("aria-sort") == "descending"
    falling = page.execute_script(COLUMN, "val/loss")
    assert falling[:-1] == rising[-2::-1]
    assert falling[-1] == "–"  # what has no value stays last
    head(page, "lr").find_element(By.TAG_NAME, "button").click()
    assert head(page, "val/loss").get_attribute("aria-sort") is None
    assert page.execute_script(COLUMN, "lr") == ["0.001", "0.001", "0.01", "0.01", "0.1", "0.1", "1", "1"]  # as numbers


@pytest.mark.slow
def test_the_keyboard_sorts_too(opened: Open) -> None:
    page = opened("grid")
    button = head(page, "optimizer").find_element(By.TAG_NAME, "button")
    page.execute_script("document.querySelectorAll('#leaderboard th button')[1].focus()")
    page.switch_to.active_element.send_keys(Keys.TAB)
    assert page.switch_to.active_element == button
    for key in (Keys.ENTER, Keys.SPACE):
        page.switch_to.active_element.send_keys(key)
    assert head(page, "optimizer").get_attribute("aria-sort") == "descending"
    assert page.execute_script(COLUMN, "optimizer") == ["sgd"] * 4 + ["adam"] * 4
    assert page.execute_script("return getComputedStyle(document.activeElement).outlineStyle") == "solid"


@pytest.mark.slow
def test_a_brush_chooses_runs_in_every_figure_and_table(opened: Open) -> None:
    page = opened("search")
    assert len(page.execute_script(COLUMN, "#")) == 130  # a long table is whole
    figure = chart(page, "All runs at once")
    left, top, height = page.execute_script(
        "const { view } = views.find(({ place }) => place === arguments[0]);"
        "return [view.scale('x')('d0') + view.origin()[0], view.origin()[1], view.height()]", figure,
    )  # fmt: skip
    start = round(left - figure.size["width"] / 2), round(top + 0.1 * height - figure.size["height"] / 2)
    drag = ActionChains(page, duration=20).move_to_element_with_offset(figure, *start).click_and_hold()
    drag.move_by_offset(0, 60).move_by_offset(0, 60).release().perform()
    kept = int(page.find_element(By.CSS_SELECTOR, "#key output").text.split()[0])
    assert 10 < kept < 100
    assert len(page.execute_script(COLUMN, "#")) == kept
    points = chart(page, "Validation loss by learning rate").find_elements(By.CSS_SELECTOR, ".mark-symbol path")
    assert len(points) == kept
    page.find_element(By.CSS_SELECTOR, "#key .clear").click()
    assert len(page.execute_script(COLUMN, "#")) == 130


@pytest.mark.slow
def test_hovering_tells_the_run_and_its_values(opened: Open) -> None:
    page = opened("grid")
    point = chart(page, "Validation loss by optimizer").find_element(By.CSS_SELECTOR, ".mark-symbol path")
    page.execute_script("arguments[0].scrollIntoView({ block: 'center' })", point)
    ActionChains(page, duration=20).move_to_element(point).perform()
    told = page.find_element(By.ID, "tip").text
    assert [
        part for part in ("job", "finished", "validation loss", "optimizer", "optimizer.lr", "seed") if part not in told
    ] == []


@pytest.mark.slow
def test_the_key_hides_a_choice_and_the_wheel_zooms(opened: Open) -> None:
    page = opened("grid")
    page.find_element(By.CSS_SELECTOR, '#key button[value="sgd"]').click()
    assert page.find_element(By.CSS_SELECTOR, "#key output").text == "20 of 40 runs"
    assert set(page.execute_script(COLUMN, "optimizer")) == {"adam"}
    ends = "return views.find(({ place }) => place === arguments[0]).view.scale('x').domain()"
    curves = chart(page, "Validation and training loss")
    before = page.execute_script(ends, curves)
    page.execute_script(
        "const box = arguments[0].querySelector('svg').getBoundingClientRect();"
        "const [clientX, clientY] = [box.left + box.width / 2, box.top + box.height / 2];"
        "const wheel = { deltaY: -300, ctrlKey: true, bubbles: true, cancelable: true, clientX, clientY };"
        "document.elementFromPoint(clientX, clientY).dispatchEvent(new WheelEvent('wheel', wheel));", curves,
    )  # fmt: skip
    wait = WebDriverWait(page, 10)
    wait.until(lambda _: page.execute_script(ends, curves)[0] > before[0])
    assert page.execute_script(ends, curves)[1] < before[1]


@pytest.mark.slow
def test_a_row_unfolds_its_difference_and_its_command(opened: Open) -> None:
    page = opened("grid")
    page.find_element(By.CSS_SELECTOR, "#leaderboard td[data-c] button").click()
    told = page.find_element(By.CSS_SELECTOR, "tr.more").text
    assert "Differs in optimizer=adam optimizer.lr=0.01" in " ".join(told.split())
    assert "python train.py -m optimizer=adam optimizer.lr=0.01 seed=0,1,2,3,4" in told
    page.find_element(By.CSS_SELECTOR, "tr.more button").click()
    copied = (By.CSS_SELECTOR, "tr.more button")
    WebDriverWait(page, 10).until(lambda browser: browser.find_element(*copied).text == "copied")
    assert page.find_element(By.CSS_SELECTOR, "#leaderboard td.jobs a").get_attribute("href").endswith("_job/")


def chart(page: Browser, beginning: str) -> Any:
    found = page.find_element(By.CSS_SELECTOR, f'.chart[aria-label^="{beginning}"]')
    page.execute_script("arguments[0].scrollIntoView({ block: 'center' })", found)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["grid", "search", "hostile"])
@pytest.mark.parametrize("width", [360, 768, 1200])
def test_only_tables_scroll_sideways(opened: Open, name: str, width: int) -> None:
    page = opened(name, width=width)
    assert page.execute_script("const root = document.documentElement; return root.scrollWidth - root.clientWidth") == 0
    boxes = page.execute_script(
        "return Array.from(document.querySelectorAll('.scroll')).map(box => box.getBoundingClientRect().right)"
    )
    assert max(boxes) <= width
    pictures = page.execute_script("return Array.from(document.querySelectorAll('svg')).map(svg => svg.clientWidth)")
    assert max(pictures) <= width


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", ["grid", "search"])
def test_light_and_dark_can_be_read(opened: Open, name: str, dark: bool) -> None:
    page = opened(name, dark=dark)
    background = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)")
    contrasts = page.execute_script(CONTRASTS)
    assert len(contrasts) > 100
    assert contrasts[0][0] >= 4.5, contrasts[:5]  # WCAG 2.2, 1.4.3


@pytest.mark.slow
def test_on_paper_it_is_light_without_buttons(opened: Open) -> None:
    page = opened("search", dark=True)
    printed = base64.b64decode(page.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
    assert printed.startswith(b"%PDF")
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert page.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.find_element(By.ID, "key").is_displayed()
    assert not page.find_element(By.TAG_NAME, "nav").is_displayed()
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.mark.slow
def test_hostile_names_are_text_and_nothing_else(opened: Open) -> None:
    page = opened("hostile")
    assert page.execute_script("return document.querySelectorAll('img, iframe, object, embed').length") == 0
    assert page.execute_script("return document.scripts.length") == 2
    assert HOSTILE[0] in page.find_element(By.TAG_NAME, "body").text


@pytest.mark.slow
def test_tables_say_what_they_are_to_those_who_do_not_see_them(opened: Open) -> None:
    page = opened("grid")
    assert page.execute_script("return Array.from(document.querySelectorAll('table')).every(t => t.caption && t.tHead)")
    assert page.execute_script("return Array.from(document.querySelectorAll('thead th')).every(h => h.scope)")
    assert page.execute_script("return Array.from(document.querySelectorAll('.chart')).every(s => s.ariaLabel)")
    assert page.execute_script("return document.documentElement.lang") == "en"
