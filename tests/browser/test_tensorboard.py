"""What a person sees who opens TensorBoard after a sweep, in headless Chromium."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from launching import launch
from PIL import Image
from slow_cases import slow

pytest.importorskip("selenium", reason="selenium, which drives the browser, is not installed")

from selenium import webdriver
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on the PATH"),
    pytest.mark.skipif(CHROMEDRIVER is None, reason="there is no chromedriver on the PATH"),
]

LAYERS = ("hidden.0.linear", "hidden.1.linear", "output")
SCORES = ("accuracy", "auroc", "f1", "loss")
JOBS = ("0_optimizer-sgd", "1_optimizer-adam")

WALK = """
const found = [];
function walk(node) {
  if (node.nodeType === Node.ELEMENT_NODE || node.nodeType === Node.DOCUMENT_FRAGMENT_NODE) {
    if (['STYLE', 'SCRIPT', 'TEMPLATE', 'NOSCRIPT'].includes(node.tagName)) return;
    if (node.shadowRoot) walk(node.shadowRoot);
  }
  visit(node);
  for (const child of node.childNodes) walk(child);
}
"""
"""Goes through the page and into shadow roots, of which TensorBoard's tabs are made."""

TEXTS = (
    """
function visit(node) {
  if (node.nodeType === Node.TEXT_NODE && node.textContent.trim()) found.push(node.textContent.trim());
}
"""
    + WALK
    + "walk(document.body); return found;"
)

IMAGES = (
    """
function visit(node) {
  if (node.tagName === 'IMG' && node.src.includes('plugin/images'))
    found.push({complete: node.complete, size: [node.naturalWidth, node.naturalHeight], shown: node.clientWidth});
}
"""
    + WALK
    + "walk(document.body); return found;"
)

CELLS = (
    """
function visit(node) {
  if (node.tagName === 'VAADIN-GRID-CELL-CONTENT') found.push([node.slot, node.innerText.trim()]);
}
"""
    + WALK
    + "walk(document.body); return found;"
)

CARDS = """
return Array.from(document.querySelectorAll('scalar-card')).map(card => ({
  tag: card.querySelector('.tag')?.title ?? '',
  rows: Array.from(card.querySelectorAll('tb-data-table-content-row')).map(
    row => Array.from(row.querySelectorAll('tb-data-table-content-cell')).map(cell => cell.innerText.trim())),
}));
"""
"""The cards of the Time Series tab, each with the table below its curve: colour, run, smoothed, value, step, time."""


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a sweep over two optimizers leaves, whose command was given twice."""
    logs = tmp_path_factory.mktemp("logs")
    words = ["optimizer=sgd,adam", "trainer.max_epochs=3", "trainer.accelerator=cpu", "sweep.name=two"]
    for to_do in (2, 0):
        done = launch(words, logs)
        assert done.status == 0, done.stdout + done.stderr
        assert f"{to_do} to do" in done.stdout
    return logs


@pytest.fixture(scope="module")
def address(logs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where TensorBoard answers, with all runs loaded."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    address = f"http://localhost:{port}"
    output = tmp_path_factory.mktemp("tensorboard") / "output.txt"
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logs), "--host", "localhost"]
    with output.open("w") as file:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--reload_interval", "0"],
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that what it starts itself can be ended with it
        )
    try:
        _wait_until_loaded(address, process, output)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def _wait_until_loaded(address: str, process: "subprocess.Popen[bytes]", output: Path) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + 40
    runs: list[str] = []
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with direct.open(f"{address}/data/runs", timeout=5) as answer:
                runs = json.load(answer)
        except (OSError, ValueError):
            runs = []
        if len(runs) == 2:
            return
        time.sleep(0.1)
    pytest.fail(f"TensorBoard shows the runs {runs}, and says: {output.read_text()}")


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    """A window of a browser that knows nothing and asks nobody but the page's own server."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for argument in (
            "--headless=new",
            "--no-sandbox",  # the sandbox refuses to run as root, as containers do
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--no-proxy-server",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1600,1200",
            f"--user-data-dir={profile}",
        ):
            options.add_argument(argument)
        driver = webdriver.Chrome(options=options, service=Service(str(CHROMEDRIVER)))
        try:
            yield driver
        finally:
            driver.quit()


Look = Callable[[str, str, Callable[[Any], bool]], Any]


@pytest.fixture
def look(browser: webdriver.Chrome, address: str) -> Look:
    """Opens a page, and waits until what a script finds on it is as expected; gives what it finds last."""

    def look(page: str, script: str, expected: Callable[[Any], bool]) -> Any:
        found: Any = None

        def as_expected(driver: webdriver.Chrome) -> bool:
            nonlocal found
            found = driver.execute_script(script)
            return expected(found)

        for _ in range(2):  # a page that was opened while the server still read files is opened again
            browser.get("about:blank")  # a change of what follows # alone would not load anything
            browser.get(f"{address}/{page}")
            try:
                WebDriverWait(browser, 15, poll_frequency=0.1).until(as_expected)
                break
            except TimeoutException:
                continue
        return found

    return look


def time_series(tags: str) -> str:
    return f"?tagFilter={quote(tags)}#timeseries"


@pytest.mark.parametrize(
    "expected",
    [
        {"lr", "train/loss", "train/loss_step"},
        *slow(
            {f"val/{score}" for score in SCORES},
            {f"gradient_norm/{layer}" for layer in (*LAYERS, "all")},
            {f"test/{score}" for score in SCORES},
        ),
    ],
    ids=["training", "validation", "gradient_norms", "test"],
)
def test_values_of_both_runs_stand_below_their_curves(look: Look, expected: set[str]) -> None:
    def complete(cards: Any) -> bool:
        return {card["tag"] for card in cards} == expected and any(len(card["rows"]) >= 2 for card in cards)

    # Few at a time: a card is filled only once it comes into view.
    names = "|".join(sorted(re.escape(name) for name in expected))
    cards = {card["tag"]: card["rows"] for card in look(time_series(f"^({names})$"), CARDS, complete)}
    assert cards.keys() == expected
    runs = {row[1] for rows in cards.values() for row in rows}
    assert {f"sweeps/two/{job}/tensorboard" for job in JOBS} <= runs


@pytest.mark.slow
def test_the_curve_of_the_accuracy_ends_at_the_accuracy_of_the_last_epoch(look: Look, logs: Path) -> None:
    cards = look(time_series("^val/accuracy"), CARDS, lambda cards: len(cards) == 1 and len(cards[0]["rows"]) == 2)
    assert [card["tag"] for card in cards] == ["val/accuracy"]
    runs = {row[1]: (float(row[3]), int(row[4])) for row in cards[0]["rows"]}
    assert runs.keys() == {f"sweeps/two/{job}/tensorboard" for job in JOBS}
    for job in JOBS:
        value, step = runs[f"sweeps/two/{job}/tensorboard"]
        result = json.loads((logs / "sweeps" / "two" / job / "result.json").read_text())
        assert step == result["steps"] - 1
        assert 0.5 < value <= 1.0
        if result["best_epoch"] == result["epochs"]:
            assert value == pytest.approx(result["validation"]["val/accuracy"], abs=1e-4)  # four digits are shown


@pytest.mark.slow
def test_the_scalars_tab_lists_every_group(look: Look) -> None:
    groups = {"val_best", "gradient_norm", "lr", "test", "train", "val"}
    assert groups <= set(look("#scalars", TEXTS, lambda texts: groups <= set(texts)))


@pytest.mark.slow
def test_the_confusion_matrix_of_each_run_is_shown_in_full(look: Look, logs: Path) -> None:
    images = look("#images", IMAGES, lambda images: len(images) == 4 and all(i["complete"] for i in images))
    sizes = []
    for job in JOBS:
        with Image.open(logs / "sweeps" / "two" / job / "figures" / "confusion_matrix.png") as picture:
            sizes.append(list(picture.size))
    # Beside it stands the reliability of its probabilities.
    assert sorted(image["size"] for image in images if image["size"] in sizes) == sorted(sizes)
    assert all(image["shown"] >= 200 for image in images)  # pixels on the page
    assert "test/confusion_matrix" in look("#images", TEXTS, lambda texts: "test/confusion_matrix" in texts)


@pytest.mark.slow
def test_the_text_tab_shows_the_configuration_of_each_run_as_it_was_written(look: Look) -> None:
    def configurations(texts: Any) -> list[str]:
        return [text for text in texts if text.startswith("seed: 0\n")]

    shown = configurations(look("#text", TEXTS, lambda texts: len(configurations(texts)) == 2))
    assert len(shown) == 2
    assert sorted(re.search(r"torch\.optim\.(\w+)", text)[1] for text in shown) == ["Adam", "SGD"]  # type: ignore[index]
    # Line breaks and indentation have survived Markdown.
    assert all("\n  _target_: mlplab.models.MLP\n  hidden_dims:\n  - 128\n  - 64\n" in text for text in shown)


@pytest.mark.slow
def test_the_histograms_tab_lists_all_weights_and_biases(look: Look) -> None:
    names = {f"{layer}.{kind}" for layer in LAYERS for kind in ("weight", "bias")}
    assert names <= set(look("#histograms", TEXTS, lambda texts: names <= set(texts)))


def table(cells: Any) -> list[dict[str, str]]:
    """The HParams tab, one dictionary for each run; cells come unordered, their slots are numbered line by line."""
    numbered = sorted((int(slot.rsplit("-", 1)[1]), text) for slot, text in cells)
    texts = [text for _, text in numbered]
    if "Trial ID" not in texts:
        return []
    start = texts.index("Trial ID")
    names = texts[start : texts.index("", start)]
    firsts = [place for place, text in enumerate(texts) if text.startswith("sweeps/")]
    return [dict(zip(names, texts[place : place + len(names)], strict=False)) for place in firsts]


@pytest.mark.slow
def test_the_hparams_tab_shows_each_job_of_the_sweep_once_with_what_was_swept(look: Look, logs: Path) -> None:
    rows = table(look("#hparams", CELLS, lambda cells: len(table(cells)) == 2))
    jobs = json.loads((logs / "sweeps" / "two" / "sweep.json").read_text())["jobs"]
    shown = {row["Trial ID"]: row for row in rows}
    assert len(shown) == len(rows) == len(jobs)
    for job in jobs:
        row = shown[f"sweeps/two/{job['directory']}/tensorboard"]
        assert {name: row[name] for name in job["values"]} == {n: str(value) for n, value in job["values"].items()}


@pytest.mark.slow
def test_the_hparams_tab_compares_choices_and_scores_of_all_runs(look: Look, logs: Path) -> None:
    rows = table(look("#hparams", CELLS, lambda cells: len(table(cells)) == 2))
    assert len(rows) == 2
    # Of metrics, too, five are shown: those of the validation first.
    assert rows[0].keys() >= {"optimizer", "optimizer.lr", *(f"val_best/{score}" for score in SCORES)}
    by_optimizer = {row["optimizer"]: row for row in rows}
    assert by_optimizer.keys() == {"sgd", "adam"}
    for job, optimizer, lr in zip(JOBS, ("sgd", "adam"), (0.1, 0.001), strict=True):
        row = by_optimizer[optimizer]
        assert row["Trial ID"] == f"sweeps/two/{job}/tensorboard"
        assert float(row["optimizer.lr"]) == lr
        result = json.loads((logs / "sweeps" / "two" / job / "result.json").read_text())
        # Five digits are shown.
        assert float(row["val_best/accuracy"]) == pytest.approx(result["validation"]["val/accuracy"], rel=1e-4)


@pytest.mark.slow
def test_the_hparams_tab_offers_the_columns_of_either_optimizer(look: Look) -> None:
    expected = {"seed", "optimizer.betas", "optimizer.eps", "optimizer.weight_decay", "data.batch_size", "sgd", "adam"}
    assert expected <= set(look("#hparams", TEXTS, lambda texts: expected <= set(texts)))


@pytest.mark.slow
def test_custom_scalars_open_on_the_loss_and_the_scores(look: Look) -> None:
    expected = {"loss", "training and validation", "validation", "accuracy", "f1", "auroc"}
    texts = look("#custom_scalars", TEXTS, lambda texts: expected <= set(texts))
    assert expected <= set(texts)
    assert not any(text.startswith("gradient_norm") for text in texts)
