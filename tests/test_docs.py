"""Every command, program and configuration of README and docs, run as it stands there, on data that is small.

Paths of data and the sizes of trainings are put in; what cannot run here is listed with the reason.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipelines.command_line import cli
from pipelines.config import Config

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

LEFT_OUT = {
    r"^make test$": "this suite itself",
    r"^make (flink|run RUNNER=flink)": "a Flink cluster: make test-flink",
    r"^make test-prism": "builds Prism",
    r"^pip install": "changes the environment",
    r"^(docker|kubectl|gcloud|STAGE=)": "a container engine, Kubernetes or Google's cloud",
    r"s3://|gs://": "a bucket: make test-store, make test-dataflow",
    r"^python -m benchmarks": "a benchmark, of large data: tests/benchmarks",
    r"--base=OLD": "needs a base that has grown: tests/pipelines/test_knn.py",
}
"""Commands that are not run here, and why."""

PROGRAMS_ELSEWHERE = {"beam.md": "tests/pipelines/test_inference.py"}
"""Pages whose programs another test runs."""

_METHODS = "--evaluate.methods=['wsabie','awe']"
_CUT = ["--train.epochs=2", "--train.D=4", "--train.batch=64", "--affinity.n=4", "--data.block_rows=128", _METHODS]
SMALL = {
    **dict.fromkeys(("run", "ingest", "train", "embed", "affinity", "annotate", "evaluate"), _CUT),
    "tune": [*_CUT, "--trials=1", "--seeds=0"],
}
"""What is added to a command that makes something of a run. A stage's page finds its run made so, and up to date."""


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
    """Lines of the page's shell blocks, continued lines joined, without comments."""
    text = "\n".join(blocks(page, "sh")).replace("\\\n", " ")
    lines = (re.sub(r"(^|\s{2,})# .*$", "", line).strip() for line in text.splitlines())
    return [" ".join(line.split()) for line in lines if line]


def left_out(command: str) -> str | None:
    return next((reason for pattern, reason in LEFT_OUT.items() if re.search(pattern, command)), None)


RUN_HERE = [(page.name, command) for page in PAGES for command in commands(page) if left_out(command) is None]
FIRST = r"^\.venv/bin/awe (init|run) .*mine"
"""What the README begins with: the run that the other pages speak of."""


class Desk:
    """A folder to type in. What was typed once, on whatever page it stands, is there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._typed: set[str] = set()

    def type(self, command: str) -> None:
        """Run `awe …`; `make …` for what the Makefile makes of it."""
        typed = made_by(command.removeprefix("make ")) if command.startswith("make ") else command
        typed = typed.removeprefix(".venv/bin/")
        assert typed.startswith("awe "), f"say in LEFT_OUT why this is not run: {command}"
        if typed not in self._typed:
            cli.main(put_in(typed, self.folder))
            self._typed.add(typed)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Where the README's beginning was typed, beside the data that the pages speak of and the configurations."""
    folder = tmp_path_factory.mktemp("desk")
    write_data(folder / "data")
    (folder / "configs").symlink_to(ROOT / "configs")
    (folder / "RUN").symlink_to("runs/mine")
    before, desk = Path.cwd(), Desk(folder)
    os.chdir(folder)
    try:
        for command in commands(PAGES[0]):
            if re.search(FIRST, command):
                desk.type(command)
        yield desk
    finally:
        os.chdir(before)


def write_data(data: Path) -> None:
    """Small data under the names of the pages."""
    rng = np.random.default_rng(0)
    data.mkdir()
    names = np.array(["dolphin", "whale", "oak"])
    for name, rows in (("train", 150), ("test", 40), ("new", 30), ("shapes", 160)):
        y = rng.integers(0, 3, rows)
        X = (3 * np.eye(3)[y] + rng.normal(size=(rows, 3))).astype(np.float32)
        np.savez(data / f"{name}.npz", X=X, **({} if name == "new" else {"y": y, "label_names": names}))
    lines = ["user,item,rating,timestamp"]
    for user in range(60):
        lines += [f"u{user},{'tea' if i == 0 else f'item{i}'},{rng.integers(1, 6)},{i}" for i in range(user % 2, 30, 2)]
    (data / "orders.csv").write_text("\n".join(lines) + "\n")
    (data / "new_orders.csv").write_text("new,item1,5\nnew,item3,4\n")
    tags = (f"{i % 5},{5 + i % 4} {1 + i % 5}:1 {8 + i % 4}:{1 + i % 3}" for i in range(200))
    (data / "tags.svm").write_text("\n".join(tags) + "\n")


HERE = {
    "configs/bibtex.toml": "mine.toml",
    "--run=runs/bibtex --seeds=0,1,2": "--run=runs/bibtex --seeds=0",
    "--seeds=0,1,2": "--seeds=0,1",
}
"""Words of the pages, and what is typed in their place."""


def put_in(command: str, folder: Path) -> list[str]:
    """The words of `awe …` with the small data's paths and sizes."""
    for ours, here in {"/data/": f"{folder}/data/", **HERE}.items():
        command = command.replace(ours, here)
    words = shlex.split(command)[1:]
    of_new_rows = any(word.startswith("--input=") for word in words)  # all settings are the run's
    return [*words, *([] if of_new_rows else SMALL.get(words[0], []))]


def made_by(target: str) -> str:
    """The `awe …` that a target of the Makefile runs last."""
    # Within `make test` make would also say which directory it leaves.
    command = ["make", "--no-print-directory", "--dry-run", target]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return shown.strip().splitlines()[-1]


@pytest.mark.parametrize(("page", "command"), RUN_HERE, ids=lambda value: str(value)[:60])
def test_a_command_of_the_pages(desk: Desk, page: str, command: str) -> None:
    desk.type(command)


def test_nothing_is_left_out_for_no_reason() -> None:
    every = [command for page in PAGES for command in commands(page)]
    for pattern in LEFT_OUT:
        assert any(re.search(pattern, command) for command in every), f"{pattern} is on no page any more"
    assert len(RUN_HERE) > 20


def test_every_command_stands_in_a_block() -> None:
    for page in PAGES:
        for line in page.read_text(encoding="utf-8").splitlines():
            assert not re.match(r"    (\.venv/bin/awe|awe|make|python -m|pip) ", line), (
                f"{page.name}: fence this: {line}"
            )


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_the_programs_of_the_pages(desk: Desk, page: Path) -> None:
    if page.name in PROGRAMS_ELSEWHERE:
        assert (ROOT / PROGRAMS_ELSEWHERE[page.name]).is_file()
        return
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    X = 3 * np.eye(3)[y] + rng.normal(size=(60, 3))
    for program in blocks(page, "python"):
        with beam.Pipeline(runner=FnApiRunner()) as pipeline:
            names = {"X": X, "y": y, "X_new": X[:5], "RUN": "RUN", "directory": "RUN/embeddings-0/train"}
            exec(
                compile(program.replace("/data/", f"{desk.folder}/data/own-"), page.name, "exec"),
                {**names, "pipeline": pipeline},
            )


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "toml")], ids=lambda page: page.name)
def test_the_configurations_of_the_pages(page: Path) -> None:
    for block in blocks(page, "toml"):
        Config.model_validate({"data": {"format": "digits"}, **tomllib.loads(block)})


TEXT = {".py", ".md", ".toml", ".yaml", ".xml", ".Dockerfile"}
FOLDERS = ("awe_core", "benchmarks", "configs", "deploy", "docs", "pipelines", "schemas", "tests")


def files_that_name_pages() -> list[Path]:
    """What the repository has of text."""
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in TEXT]
    return [ROOT / "Makefile", ROOT / "README.md", *found]


def test_every_page_that_is_named_is_there() -> None:
    files = files_that_name_pages()
    assert len(files) > 100
    for file in files:
        text = file.read_text(encoding="utf-8")
        for name in re.findall(r"docs/[\w/-]+\.(?:md|toml)", text):
            assert (ROOT / name).is_file(), f"{file.relative_to(ROOT)} names {name}"
        if file.suffix == ".md":
            for link in re.findall(r"\]\(([^)#:]+)\)", text):
                assert (file.parent / link).exists(), f"{file.relative_to(ROOT)} links to {link}"


def test_the_readme_lists_every_page() -> None:
    text = PAGES[0].read_text(encoding="utf-8")
    assert [page for page in PAGES[1:] if f"({page.relative_to(ROOT)})" not in text] == []
