"""The report of several seeds: means and spreads of their results, links to the report of each."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest

from pipelines.command_line import cli
from tests.pipelines.report.browser import CHROMIUM, DRIVER, chromium
from tests.pipelines.report.conftest import results
from tests.pipelines.report.test_page import Reader, read

SEEDS = (3, 11)


@pytest.fixture(scope="module")
def seeds_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("seeds") / "run"
    cut = ("--train.D=4", "--train.epochs=2", "--affinity.n=8", "--evaluate.methods=['wsabie','gxf','awe']")
    cli.main(["run", f"--run={run}", "--data.format=digits", f"--seeds={SEEDS[0]},{SEEDS[1]}", *cut])
    return run


def words(report: Reader) -> str:
    return " ".join(report.text.split())


def test_it_has_the_mean_and_spread_of_every_method(seeds_run: Path) -> None:
    text = words(read(seeds_run))
    found = [results(seeds_run / f"seed-{seed}") for seed in SEEDS]
    for method, iteration in (("wsabie", 0), ("gxf", 1), ("awe", 1)):
        for split in ("test", "validation"):
            values = [100 * rows[split, iteration, method]["metrics"]["p@1"] for rows in found]
            assert f"{statistics.fmean(values):.2f} ± {statistics.stdev(values):.2f}" in text
            assert split == "validation" or all(f"{value:.2f}" in text for value in values)
    assert "mean ± standard deviation over the seeds 3, 11" in text
    assert " test, by seed 3" in text
    awe = [100 * rows["test", 1, "awe"]["metrics"]["p@1"] for rows in found]
    assert f"{statistics.fmean(awe):.2f} % ± {statistics.stdev(awe):.2f}" in text


def test_it_leads_to_the_report_of_every_seed_and_loads_nothing(seeds_run: Path) -> None:
    hrefs = [attributes["href"] or "" for attributes in read(seeds_run).named("a")]
    assert [href for href in hrefs if not href.startswith("#")] == [f"seed-{seed}/report.html" for seed in SEEDS]
    assert all((seeds_run / href).is_file() for href in hrefs if not href.startswith("#"))
    assert [href for href in hrefs if href.startswith("#")] == ["#content", "#overview", "#results", "#seeds"]
    assert all("src" not in attributes for _, attributes in read(seeds_run).elements)


def test_the_command_writes_it_and_says_where(seeds_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = seeds_run / "report.html"
    before = path.read_bytes()
    path.unlink()
    cli.main(["report", f"--run={seeds_run}"])
    assert capsys.readouterr().out.split() == [str(path)]
    assert path.read_bytes() == before


@pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="no Chromium (docs/stages/report.md)")
def test_in_a_browser_a_seed_is_one_click_away(seeds_run: Path) -> None:
    with chromium() as browser:
        browser.show(420, dark=True)
        browser.go(seeds_run / "report.html")
        assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
        browser.click("#results-tab-2")
        browser.click("#seeds a")
        assert browser.run("return location.href") == (seeds_run / "seed-3" / "report.html").as_uri()
        assert browser.log("browser") == []


def test_a_summary_that_names_no_seeds_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "summary.json").write_text(json.dumps([]))
    with pytest.raises(SystemExit) as stopped:
        cli.main(["report", f"--run={tmp_path}"])
    assert stopped.value.code == 1
    assert "summary.json: names no seeds" in capsys.readouterr().err
