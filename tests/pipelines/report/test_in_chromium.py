"""The report in a real browser: it opens offline, can be clicked through, and says nothing on the console."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.report.formatting import readable
from tests.pipelines.report.browser import CHROMIUM, DRIVER, Browser, chromium
from tests.pipelines.report.conftest import HOSTILE

pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="no Chromium: Debian has it as chromium and chromium-driver (docs/stages/report.md)",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as window:
        yield window


def opened(browser: Browser, run: Path, width: int = 1280, dark: bool = False) -> None:
    browser.show(width, dark)
    browser.log("performance")
    browser.go(run / "report.html")


def requested(browser: Browser) -> set[str]:
    """What the page asked for, from the network's log."""
    events = [json.loads(entry["message"])["message"] for entry in browser.log("performance")]
    sent = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return {url for url in sent if not url.startswith("data:")}


def visible(browser: Browser, selector: str) -> list[bool]:
    return list(browser.run(f"return [...document.querySelectorAll('{selector}')].map(e => e.offsetHeight > 0)"))


def test_it_asks_for_nothing_and_complains_of_nothing(browser: Browser, digits_run: Path) -> None:
    opened(browser, digits_run)
    assert requested(browser) == {(digits_run / "report.html").as_uri()}
    assert browser.log("browser") == []
    assert browser.run("return [...document.images].every(i => i.complete && i.naturalWidth === 8)")


def test_every_section_is_reached_by_its_link(browser: Browser, digits_run: Path) -> None:
    opened(browser, digits_run)
    names = browser.run("return [...document.querySelectorAll('nav a')].map(a => a.hash)")
    assert len(names) == 9
    for name in names:
        browser.click(f"nav a[href='{name}']")
        assert browser.run("return location.hash") == name
    assert browser.log("browser") == []


def test_tabs_by_click_and_by_key(browser: Browser, digits_run: Path) -> None:
    opened(browser, digits_run)
    assert visible(browser, "#results [role=tabpanel]") == [True, False]
    browser.click("#results-tab-2")
    assert visible(browser, "#results [role=tabpanel]") == [False, True]
    browser.type("#results-tab-2", "\ue014")  # the right arrow, from the last tab to the first
    assert visible(browser, "#results [role=tabpanel]") == [True, False]
    assert browser.run("return document.activeElement.id") == "results-tab-1"
    assert visible(browser, "#example_annotations [role=tabpanel]")[0]


def test_the_first_key_skips_to_the_content(browser: Browser, digits_run: Path) -> None:
    opened(browser, digits_run)
    browser.type("body", "\ue004")
    assert browser.run("return document.activeElement.className") == "skip"


def test_a_label_is_found_on_the_map_and_in_the_table(browser: Browser, digits_run: Path) -> None:
    opened(browser, digits_run)
    browser.type("#find-label", "7")
    picked = "return [...document.querySelectorAll('.label.picked')].map(e => e.dataset.name)"
    assert browser.run(picked) == ["7"]
    assert browser.run("return document.querySelectorAll('.examples .picked').length") > 10
    assert "7: " in browser.run("return document.getElementById('found').textContent")
    browser.click("#find-clear")
    assert browser.run(picked) == []
    browser.type("#find-row", "nothing is called so")
    assert not any(visible(browser, "#nearest tbody tr"))
    assert browser.log("browser") == []


def test_names_do_nothing_but_stand_there(browser: Browser, hostile_run: Path) -> None:
    opened(browser, hostile_run)
    assert "owned" not in browser.run("return document.title")
    assert requested(browser) == {(hostile_run / "report.html").as_uri()}
    options = browser.run("return [...document.querySelectorAll('#label-names option')].map(o => o.value)")
    assert {readable(name) for name in HOSTILE} == set(options)
    for place in range(len(HOSTILE)):
        browser.run(f"document.querySelectorAll('.label')[{place}].dispatchEvent(new PointerEvent('pointerenter'))")
        assert "owned" not in browser.run(
            "return document.title + document.getElementById('found').innerHTML.replace(/[^<]*/, '')"
        )
    assert browser.log("browser") == []


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_light_and_dark_narrow_and_wide(
    browser: Browser, digits_run: Path, hostile_run: Path, tmp_path: Path, width: int, dark: bool
) -> None:
    for run in (digits_run, hostile_run):
        opened(browser, run, width, dark)
        assert browser.run("return document.documentElement.scrollWidth") == width  # nothing sticks out
    light = browser.run("return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0] > 128")
    assert light is not dark
    assert least_contrast(browser) >= 4.5
    kept = Path(os.environ.get("AWE_SCREENSHOTS", tmp_path))
    browser.screenshot(kept / f"report-{width}-{'dark' if dark else 'light'}.png")


def least_contrast(browser: Browser) -> float:
    """The smallest contrast (WCAG 2) of the texts' colours on a card."""
    return float(
        browser.run(
            """
            const light = (colour) => {
              const parts = colour.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255)
                .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
              return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
            };
            const card = light(getComputedStyle(document.querySelector("section")).backgroundColor);
            const of = (selector, property) =>
              [...document.querySelectorAll(selector)].map((e) => light(getComputedStyle(e)[property]));
            const texts = [
              ...of("main p, main td, main dt, main .true, main .sibling, main small, nav a", "color"),
              ...of("svg.chart text", "fill"),
            ];
            return Math.min(...texts.map((text) => (Math.max(text, card) + 0.05) / (Math.min(text, card) + 0.05)));
            """
        )
    )
