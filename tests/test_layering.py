"""Who may import whom, read from the source files themselves."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STAGES = ("ingest", "train", "embed", "affinity", "annotate", "evaluate")
PROJECT = {"awe_core", "schemas", "pipelines"}
FORBIDDEN = {
    "awe_core": {"schemas", "pipelines", "apache_beam"},
    "schemas": {"awe_core", "pipelines", "apache_beam"},
    "tests/oracles": PROJECT,
}


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imported(path: Path, root: Path = ROOT) -> Iterator[str]:
    """Full names of the modules that a file imports anywhere in it, and of what it takes from them."""
    package = path.relative_to(root).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_packages_do_not_import_what_is_above_or_beside_them(folder: str) -> None:
    assert files(folder)
    wrong = [
        (str(path.relative_to(ROOT)), name)
        for path in files(folder)
        for name in imported(path)
        if name.split(".")[0] in FORBIDDEN[folder]
    ]
    assert wrong == []


@pytest.mark.parametrize("stage", STAGES)
def test_stages_meet_through_manifests_and_never_import_one_another(stage: str) -> None:
    others = {f"pipelines.{other}" for other in STAGES if other != stage}
    wrong = [name for name in imported(ROOT / "pipelines" / f"{stage}.py") if ".".join(name.split(".")[:2]) in others]
    assert wrong == []


def rooms(package: str, root: Path = ROOT) -> dict[str, set[str]]:
    """Every folder of a package, and every module beside them, with the others that it imports."""
    found: dict[str, set[str]] = {}
    for path in sorted((root / package).rglob("*.py")):
        room = path.relative_to(root).with_suffix("").parts[1]
        others = {name.split(".")[1] for name in imported(path, root) if name.startswith(f"{package}.")}
        found.setdefault(room, set()).update(others - {room})
    return found


@pytest.mark.parametrize("package", sorted(PROJECT))
def test_no_folder_is_above_and_below_another(package: str) -> None:
    TopologicalSorter(rooms(package)).prepare()  # raises CycleError with the circle


def test_a_circle_of_folders_is_seen(tmp_path: Path) -> None:
    for name, text in {"a/b.py": "from p.c import x\n", "a/d.py": "", "c.py": "import p.a.d\n"}.items():
        path = tmp_path / "p" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert rooms("p", tmp_path) == {"a": {"c"}, "c": {"a"}}
    with pytest.raises(CycleError):
        TopologicalSorter(rooms("p", tmp_path)).prepare()


@pytest.mark.parametrize("folder", sorted(PROJECT))
def test_nothing_is_pickled_and_no_file_is_called_utils(folder: str) -> None:
    assert [path for path in files(folder) if "utils" in path.name] == []
    assert [path for path in files(folder) for name in imported(path) if name.split(".")[0] == "pickle"] == []


def test_the_reader_of_imports_sees_every_form(tmp_path: Path) -> None:
    package = tmp_path / "one" / "two"
    package.mkdir(parents=True)
    source = "import a.b\nfrom c import d\nfrom . import e\nfrom ..f import g\ndef h():\n    import i\n"
    (package / "module.py").write_text(source)
    assert sorted(imported(package / "module.py", tmp_path)) == ["a.b", "c.d", "i", "one.f.g", "one.two.e"]
