"""The page in a real browser: every figure draws, tables sort and filter, nothing is fetched, the console is clean."""

import io
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from peftlab.report.command import write as write_report
from studies import broken, landscape, run, runs, write, write_selection

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), None)
HOSTILE = "<img src=x onerror=alert(1)>"
MINUTES = 120_000  # milliseconds; a busy machine takes its time


@dataclass
class Opened:
    """A page in the browser, and whatever it said, asked for or popped up."""

    page: Any
    said: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)

    def column(self, number: int) -> list[str]:
        """The visible cells of a column of the comparison table, from the top."""
        rows = self.page.locator("#comparison-table tbody tr:visible")
        return [row.split("\t")[number].strip() for row in rows.all_inner_texts()]

    def draw_everything(self) -> dict[str, list[str]]:
        """Scroll to every figure, choose each of its variants, and return the state that each ended in."""
        states: dict[str, list[str]] = {}
        for card in self.page.locator("figure[data-figure]").all():
            card.scroll_into_view_if_needed()
            name = card.get_attribute("data-figure")
            select = card.locator("select")
            for choice in range(select.locator("option").count() if select.count() else 1):
                if select.count():
                    select.select_option(str(choice))
                card.locator('.plot[data-state="drawn"], .plot[data-state="failed"]').wait_for(timeout=MINUTES)
                states.setdefault(name, []).append(card.locator(".plot").get_attribute("data-state"))
        return states


def records() -> list[Any]:
    """Two tasks, few shots, a sweep, a name that would like to be markup, a collapsed and a failed run."""
    found = runs({"lora": [0.80, 0.82, 0.81], "full": [0.85, 0.84, 0.88], HOSTILE: [0.7, 0.6, 0.75]}, task="rte")
    found += runs({"lora": [0.30, 0.32, 0.31], "full": [0.35, 0.30, 0.38]}, task="cola")
    found += runs({"lora": [0.55, 0.52], "full": [0.50, 0.51]}, task="rte", shots=16, test=0.5)
    found += [run(0.7 + k / 50, "heads", seed=s, options={"k": k}) for k in (1, 2, 3) for s in (1, 2)]
    return [*found, run(0.5, "full", seed=4, collapsed=True), broken("lora", seed=4)]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (Debian: apt install chromium)")
    folder = tmp_path_factory.mktemp("study")
    of = records()
    write(folder, of)
    for record in of:
        if record.strategy == "heads":
            write_selection(record, features=8)
    landscape().write(folder / "landscape")
    write_report([folder], folder / "report")
    sandbox = [] if os.geteuid() else ["--no-sandbox"]  # Chromium refuses a sandbox to root
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=sandbox, timeout=MINUTES)
        page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
        page.set_default_timeout(MINUTES)
        seen = Opened(page)
        page.on("console", lambda message: seen.said.append(message.text))
        page.on("pageerror", lambda error: seen.said.append(str(error)))
        page.on("dialog", lambda dialog: (seen.said.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: seen.fetched.append(request.url))
        page.goto((folder / "report" / "index.html").as_uri())
        yield seen
        browser.close()


def test_every_figure_draws_in_every_variant(opened: Opened) -> None:
    states = opened.draw_everything()
    assert set(states) == {
        *("scores", "duels", "pareto", "learning", "options", "heads", "covariance"),
        *("robustness", "robustness-correlation", "spectra", "landscape"),
    }
    assert {state for of in states.values() for state in of} == {"drawn"}
    assert len(states["scores"]) == 3
    marks = opened.page.locator(".plot .trace path, .plot .hm image").count()
    assert marks > 40
    assert opened.page.locator(".plot svg.main-svg").first.bounding_box()["height"] > 100


def test_columns_sort_as_numbers_with_what_is_missing_last(opened: Opened) -> None:
    score = opened.page.locator("#comparison-table th button", has_text="Score")
    for order in ("descending", "ascending"):
        score.click()
        assert opened.page.locator("#comparison-table th[aria-sort]").get_attribute("aria-sort") == order
        values = [float(text.split(" ")[0]) for text in opened.column(3) if text[0] != "–"]
        assert values == sorted(values, reverse=order == "descending")
        assert len(values) > 5


def test_rows_filter_by_words_and_by_choice(opened: Opened) -> None:
    controls = opened.page.locator('.filter[data-table="comparison-table"]')
    controls.locator("input").fill("lora cola")
    assert opened.column(2) == ["lora"]
    assert controls.locator("output").inner_text() == "1 of 10 rows"
    controls.locator("input").fill("")
    controls.locator('select[data-key="block"]').select_option("minilm · 16 shots")
    assert sorted(opened.column(2)) == ["full", "lora"]
    controls.locator('select[data-key="block"]').select_option("")
    assert controls.locator("output").inner_text() == "10 of 10 rows"


def test_every_seed_is_a_mark_in_its_row(opened: Opened) -> None:
    row = opened.page.locator(
        '#comparison-table tr[data-task="RTE"][data-block="minilm · full data"][data-strategy="full"]'
    )
    assert (row.locator("svg circle").count(), row.locator("svg path").count()) == (3, 1)  # the fourth collapsed


def test_names_from_data_are_read_literally(opened: Opened) -> None:
    assert HOSTILE in opened.column(2)
    opened.draw_everything()
    assert opened.page.locator("img").count() == 0
    opened.page.locator("#scores select").select_option("1")
    labels = opened.page.locator("#scores .ytick text").all_text_contents()
    assert HOSTILE in labels


def test_light_and_dark_are_the_pages_own(opened: Opened) -> None:
    opened.page.locator("#scores").scroll_into_view_if_needed()
    inked = "ink => getComputedStyle(document.querySelector('#scores .xtick text') || document.body).fill === ink"
    for scheme, ink in (("dark", "rgb(223, 225, 228)"), ("light", "rgb(34, 37, 42)")):
        opened.page.emulate_media(color_scheme=scheme)
        opened.page.wait_for_function(inked, arg=ink)


@pytest.mark.parametrize("width", [1280, 390])
def test_every_figure_is_drawn_unscrolled_and_none_is_wider_than_the_page(opened: Opened, width: int) -> None:
    # So a print and a picture of the whole page have them all, and a phone shows them whole.
    page = opened.page.context.browser.new_page(viewport={"width": width, "height": 900})
    page.goto(opened.page.url)
    for state in (":not([data-state])", '[data-state="drawing"]'):
        page.locator(f".plot{state}").first.wait_for(state="detached", timeout=MINUTES)
    assert {plot.get_attribute("data-state") for plot in page.locator(".plot").all()} == {"drawn"}
    beyond = "[...document.querySelectorAll('.plotscroll')].map(e => e.scrollWidth - e.clientWidth)"
    assert set(page.evaluate(beyond)) == {0}
    page.close()


@pytest.mark.parametrize(("name", "width"), [("desktop", 1280), ("narrow", 390)])
def test_the_page_fits_its_window_as_a_screenshot_shows(opened: Opened, name: str, width: int, tmp_path: Path) -> None:
    opened.page.set_viewport_size({"width": width, "height": 900})
    opened.draw_everything()
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    opened.page.locator("#heads").scroll_into_view_if_needed()
    picture = opened.page.screenshot(path=tmp_path / f"{name}.png", timeout=MINUTES)
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
    assert pixels.shape == (900, width, 3)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100  # figures have colours, text has shades


def test_the_numbers_of_a_figure_stand_below_it(opened: Opened) -> None:
    opened.draw_everything()
    below = {"robustness": "Spearman", "robustness-correlation": "strongest of 6 pairs", "spectra": "ξ = 0.9"}
    for slug, told in below.items():
        notes = opened.page.locator(f"#{slug} .notes div").all_inner_texts()
        assert notes
        assert told in " ".join(notes)


def test_nothing_is_fetched_and_the_console_is_clean(opened: Opened) -> None:
    opened.draw_everything()
    assert [url.partition(":")[0] for url in opened.fetched] == ["file"]
    assert opened.said == []
