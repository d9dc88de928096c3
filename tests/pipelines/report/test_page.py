"""The file as a whole: closed, of one piece, the same every time, and safe from what labels are called."""

from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipelines.command_line import cli
from pipelines.questions.existing_run import ExistingRun
from pipelines.report.formatting import readable
from pipelines.report.page import SECTIONS, page
from tests.pipelines.report.conftest import HOSTILE

VOID = {"meta", "link", "img", "input", "br"}


class Reader(HTMLParser):
    """Elements with their attributes, and the text outside of style and script; refuses what is not closed."""

    def __init__(self, content: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(content)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self._open):
            self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def read(run: Path) -> Reader:
    return Reader((run / "report.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["digits_run", "hostile_run", "bare_run"])
def test_it_is_one_closed_file_that_loads_nothing(name: str, request: pytest.FixtureRequest) -> None:
    found = read(request.getfixturevalue(name))
    loaded = [value for _, attributes in found.elements for key, value in attributes.items() if key in ("src", "href")]
    assert all(value is not None and value.startswith(("#", "data:")) for value in loaded)
    assert {tag for tag, _ in found.elements}.isdisjoint({"iframe", "object", "embed", "form", "base"})
    style = (Path(__file__).parents[3] / "pipelines/report/templates/style.css").read_text()
    assert "url(" not in style
    assert "@import" not in style
    assert len(found.named("script")) == 1


def test_links_labels_and_descriptions_have_their_ends(digits_run: Path) -> None:
    found = read(digits_run)
    ids = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in found.elements:
        for key in ("aria-labelledby", "aria-controls", "for", "list"):
            assert key not in attributes or attributes[key] in ids
        href = attributes.get("href")
        assert href is None or not href.startswith("#") or href[1:] in ids
    assert all(f"#{section.name}" in [a["href"] for a in found.named("a")] for section in SECTIONS)
    pictures = [a for a in found.named("svg") if "key" not in (a["class"] or "")]
    assert pictures
    assert all(a["role"] == "img" and len(a["aria-label"] or "") > 20 for a in pictures)
    assert all(a["alt"] for a in found.named("img"))


def test_names_of_labels_are_text_and_nothing_else(hostile_run: Path) -> None:
    content = (hostile_run / "report.html").read_text(encoding="utf-8")
    found = read(hostile_run)
    assert {tag for tag, attributes in found.elements if any(key.startswith("on") for key in attributes)} == set()
    assert len(found.named("script")) == 1
    assert found.named("img") == []
    for name in HOSTILE:
        assert readable(name) in found.text
    assert " · " in found.text  # between names, which may have commas
    assert "\x00" not in content
    assert "49" not in {row.strip() for row in found.text.splitlines()}  # no template inside a name is rendered


def test_the_same_run_gives_the_same_bytes(digits_run: Path) -> None:
    before = (digits_run / "report.html").read_bytes()
    assert page(ExistingRun.open(str(digits_run))).encode() == before
    assert not re.search(rb"-0\.0[^0-9]", before)


def test_the_command_writes_it_and_says_where(hostile_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = hostile_run / "report.html"
    path.unlink()
    capsys.readouterr()
    cli.main(["report", f"--run={hostile_run}"])
    assert capsys.readouterr().out.split() == [str(path)]
    assert path.exists()


def test_where_there_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["report", f"--run={tmp_path}"])
    assert stopped.value.code == 2
    assert "there is no run.toml" in capsys.readouterr().err


def test_what_is_missing_is_named_with_the_command_that_makes_it(
    bare_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(bare_run, run, ignore=shutil.ignore_patterns("report.html"))
    (run / "model-0" / "model.json").unlink()
    with pytest.raises(SystemExit) as stopped:
        cli.main(["report", f"--run={run}"])
    assert stopped.value.code == 1
    assert "there is no model yet; run 'awe train --iteration=0' first" in capsys.readouterr().err
    assert not (run / "report.html").exists()
