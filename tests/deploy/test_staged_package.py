"""Workers that never saw the checkout: all they have of the project is the package that the launcher stages."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from deploy.flink.cluster import Cluster, free_port
from tests.deploy.conftest import Flink
from tests.end_to_end.runs import DIGITS, awe, counters, parts

pytestmark = pytest.mark.timeout(1800)

ROOT = Path(__file__).parents[2]
OWN = ("affinity_weighted_embedding", "__editable__", "awe_core", "schemas", "pipelines")
"""How what an installed project leaves among the packages begins."""

BUILD = ("setuptools", "_distutils_hack", "distutils-precedence", "pkg_resources")
"""What builds the package on a worker: Beam's images have a newer one than a new environment gets."""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with all that the project depends on, and without the project."""
    folder = tmp_path_factory.mktemp("workers") / "venv"
    venv.create(folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith((*OWN, *BUILD)):
            (packages / entry.name).symlink_to(entry)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "setuptools>=70.1"], check=True)
    return python


def knows_the_project(python: Path) -> bool:
    code = "import importlib.util as u, sys; sys.exit(u.find_spec('pipelines') is None)"
    return subprocess.run([python, "-c", code], cwd="/", check=False).returncode == 0


def test_the_package_that_is_staged_holds_the_three_packages_alone(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    for name in ("awe_core", "schemas", "pipelines", "tests"):
        shutil.copytree(ROOT / name, source / name)
    command = [sys.executable, "setup.py", "--quiet", "sdist", "--dist-dir", str(tmp_path)]  # as Beam does
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (package,) = tmp_path.glob("*.tar.gz")
    shutil.unpack_archive(package, tmp_path)
    (folder,) = (path for path in tmp_path.glob("affinity*") if path.is_dir())
    for name in ("awe_core", "schemas", "pipelines"):
        files = (path for path in (ROOT / name).rglob("*.*") if "__pycache__" not in path.parts)
        expected = {path.relative_to(ROOT) for path in files}
        assert {path.relative_to(folder) for path in (folder / name).rglob("*.*")} == expected
    assert not (folder / "tests").exists()


def test_a_stage_needs_nothing_of_the_checkout_on_the_workers(
    flink: Flink, python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # Beam's boot program installs by pip, from what was staged alone
    assert not knows_the_project(python)
    here, there = tmp_path / "here", tmp_path / "there"
    awe("run", f"--run={here}", *DIGITS)
    shutil.copytree(here, there)
    shutil.rmtree(there / "reweighted-1")
    cluster = Cluster(tmp_path / "flink", flink.jar, free_port(), python)
    cluster.start(1)
    try:
        staged = f"--setup_file={ROOT / 'setup.py'}"
        awe("affinity", f"--run={there}", *DIGITS, *flink.on(cluster), "--parallelism=1", staged)
    finally:
        cluster.stop()
    assert knows_the_project(python)
    assert parts(there) == parts(here)
    assert counters(there, "affinity-1")["rows_reweighted"] == 1797
