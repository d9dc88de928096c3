"""`awe doctor`: what this machine has, what each runner needs of it, and whether it is there. Nothing is run."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from threadpoolctl import threadpool_info

from pipelines.errors import JobError
from pipelines.filesystems.filesystem import scheme_of
from pipelines.jobs.memory import memory_of_machine
from pipelines.jobs.runners import RUNNERS
from schemas.vector_formats import cell

PACKAGE = "affinity-weighted-embedding"
LEAST_BYTES = 2**30
"""Of memory and of disk: below it a run of the embedded default may not end."""
_GIB = 2**30
_JAVA = (11, 17)
"""Versions that Flink 1.19 runs on."""

State = Literal["ok", "absent", "wrong"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    group : "machine", "extras", "tools" or "runners".
    name : what was looked at.
    state : "wrong" is what no run can do without; "absent" what only some need.
    found : what there is.
    mend : what to do where it is not "ok"; else empty.
    """

    group: str
    name: str
    state: State
    found: str
    mend: str = ""


@dataclass(frozen=True)
class Report:
    """All findings, and whether a run on this runner could start.

    Attributes
    ----------
    runner : that was asked about.
    findings : in the order in which they are printed.
    """

    runner: str
    findings: tuple[Finding, ...]

    @property
    def in_the_way(self) -> list[Finding]:
        """What keeps a run from starting: whatever is wrong, and what the runner lacks."""
        return [f for f in self.findings if f.state == "wrong" or (f.name == self.runner and f.state != "ok")]


def examine(run: str, runner: str) -> Report:
    """Look at the machine, for a run directory (a path or a URI) and one of `RUNNERS`."""
    machine = [_python(), _packages(), _cpus(), _blas(), _kernels(), _memory(), _run_directory(run), _scratch()]
    extras, tools = [_extra(name) for name in _EXTRAS], [_tool(*each) for each in _TOOLS]
    there = {finding.name for finding in [*extras, *tools] if finding.state == "ok"}
    runners = [_RUNNERS[name](there) for name in RUNNERS]
    return Report(runner, (*machine, *extras, *tools, *runners))


def main(run: str, runner: str, as_json: bool, say: Callable[[str], None]) -> None:
    """Say the report. Raises JobError, after it is said, where a run on that runner could not start."""
    report = examine(run, runner)
    say(_as_json(report) if as_json else _as_text(report))
    if report.in_the_way:
        first = report.in_the_way[0]
        raise JobError(f"{first.name}: {first.found}; {first.mend}")


def _as_json(report: Report) -> str:
    ready = not report.in_the_way
    return json.dumps(
        {"runner": report.runner, "ready": ready, "findings": [asdict(finding) for finding in report.findings]},
        indent=1,
        ensure_ascii=False,
    )


def _as_text(report: Report) -> str:
    lines, group = [f"awe {_version(PACKAGE) or 'that is not installed'} on {platform.platform()}"], ""
    width = max(len(finding.name) for finding in report.findings)
    for finding in report.findings:
        if finding.group != group:
            group = finding.group
            lines += ["", group]
        lines.append(f"  {finding.state:<7}{finding.name:<{width}}  {cell(finding.found)}")
        if finding.mend:
            lines.append(f"  {'':<7}{'':<{width}}  → {finding.mend}")
    found = "can start" if not report.in_the_way else "cannot start"
    return "\n".join([*lines, "", f"a run on the runner {report.runner} {found}"])


def _python() -> Finding:
    return Finding("machine", "Python", "ok", f"{platform.python_version()} ({platform.python_implementation()})")


def _packages() -> Finding:
    """The packages that every run needs."""
    required = [one for one in _requirements(PACKAGE) if one.marker is None or one.marker.evaluate({"extra": ""})]
    lacking = [each for one in required for each in _lacking(one)]
    if not required:
        return Finding("machine", "packages", "wrong", f"{PACKAGE} is not installed", "pip install --editable .")
    if lacking:
        return Finding("machine", "packages", "wrong", f"missing: {', '.join(lacking)}", "pip install --editable .")
    return Finding("machine", "packages", "ok", f"all {len(required)} that every run needs")


def _cpus() -> Finding:
    count = os.cpu_count() or 1
    return Finding("machine", "CPUs", "ok", f"{count}; a run has as many workers, and the trainer as many threads")


def _blas() -> Finding:
    libraries = [one for one in threadpool_info() if one["user_api"] == "blas" and "numpy" in one["filepath"]]
    if not libraries:
        libraries = [one for one in threadpool_info() if one["user_api"] == "blas"]
    if not libraries:
        return Finding("machine", "BLAS", "ok", "one that says nothing of its threads; set OMP_NUM_THREADS=1")
    one = libraries[0]
    built = f" for {one['architecture']}" if one.get("architecture") else ""
    said = f"{one['internal_api']} {one['version']}{built}; awe holds it to 1 thread in each of its own"
    return Finding("machine", "BLAS", "ok", said)


def _kernels() -> Finding:
    found = _version("numba")
    if found is not None:
        return Finding("machine", "kernels", "ok", f"compiled, by numba {found}")
    mend = f'pip install "{PACKAGE}[fast]" (training and the join take about half the time)'
    return Finding("machine", "kernels", "absent", "numpy's, as numba is not installed", mend)


def _memory() -> Finding:
    whole, free = memory_of_machine()
    said = f"{_gib(free)} free of {_gib(whole)}; a run of small data takes 1 GiB, `awe plan` says it of yours"
    if free < LEAST_BYTES:
        return Finding("machine", "memory", "wrong", said, f"free {_gib(LEAST_BYTES)}, or take another machine")
    return Finding("machine", "memory", "ok", said)


def _run_directory(run: str) -> Finding:
    scheme = scheme_of(run)
    if scheme is None:
        return _folder("run directory", run)
    from apache_beam.io.filesystems import FileSystems

    try:
        FileSystems.get_filesystem(run)
    except ValueError as error:
        mend = f'pip install "{PACKAGE}[{"aws" if scheme == "s3" else "gcp"}]", or give a path'
        return Finding("machine", "run directory", "wrong", f"{run}: {error}", mend)
    if scheme == "s3" and _version("boto3") is None:
        mend = f'pip install "{PACKAGE}[aws]"'
        return Finding("machine", "run directory", "wrong", f"{run}: boto3 is not installed", mend)
    return Finding("machine", "run directory", "ok", f"{run}: a store that Beam knows; it was not asked for anything")


def _scratch() -> Finding:
    return _folder("scratch", tempfile.gettempdir())


def _folder(name: str, path: str) -> Finding:
    """A folder that may have to be made: whether it can be written, and the disk that is left."""
    stands = Path(path).absolute()
    while not stands.exists():
        stands = stands.parent
    where = "give another --run=DIR" if name == "run directory" else "set TMPDIR to another folder"
    if not stands.is_dir():
        return Finding("machine", name, "wrong", f"{path}: {stands} is a file", where)
    if not os.access(stands, os.W_OK | os.X_OK):
        return Finding("machine", name, "wrong", f"{path}: {stands} cannot be written", where)
    free = shutil.disk_usage(stands).free
    state: State = "ok" if free >= LEAST_BYTES else "wrong"
    return Finding("machine", name, state, f"{path}: {_gib(free)} free", "" if state == "ok" else where)


def _extra(name: str) -> Finding:
    """One of the extras of the package that a user may want."""
    needed = _of_extra(PACKAGE, name)
    lacking = [each for one in needed for each in _lacking(one)]
    mend = f'pip install "{PACKAGE}[{name}]"'
    if not needed:
        said = f"{_EXTRAS[name]}: unknown to the {PACKAGE} that is installed"
        return Finding("extras", name, "absent", said, "pip install --editable . once more")
    if lacking:
        said = f"{_EXTRAS[name]}: {', '.join(lacking[:3])}{' …' if len(lacking) > 3 else ''} missing"
        return Finding("extras", name, "absent", said, mend)
    return Finding("extras", name, "ok", _EXTRAS[name])


_EXTRAS = {
    "aws": "run directories in s3://",
    "gcp": "Dataflow, and run directories in gs://",
    "faiss": "`awe export --format=faiss`",
    "fast": "compiled kernels",
    "tune": "`awe tune`",
}


def _requirements(package: str) -> list[Requirement]:
    try:
        return [Requirement(text) for text in importlib.metadata.requires(package) or []]
    except importlib.metadata.PackageNotFoundError:
        return []


def _of_extra(package: str, extra: str) -> list[Requirement]:
    """What a package needs for an extra, and not without it."""
    with_marker = [one for one in _requirements(package) if one.marker is not None]
    return [
        one
        for one in with_marker
        if one.marker and one.marker.evaluate({"extra": extra}) and not one.marker.evaluate({"extra": ""})
    ]


def _lacking(needed: Requirement) -> list[str]:
    """The packages that are missing or of another version."""
    found = _version(needed.name)
    if found is None:
        return [needed.name]
    if not needed.specifier.contains(found, prereleases=True):
        return [f"{needed.name} {needed.specifier} (found {found})"]
    return [each for extra in sorted(needed.extras) for one in _of_extra(needed.name, extra) for each in _lacking(one)]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


_TOOLS = (
    ("Java", ("java", "-version"), "Flink's job server", "install a Java runtime, version 11 or 17"),
    ("Maven", ("mvn", "--version"), "`make flink`, once", "install Maven"),
    ("Go", ("go", "version"), "`make flink`, once; Prism", "install Go"),
)


def _tool(name: str, command: tuple[str, ...], used_by: str, mend: str) -> Finding:
    path = shutil.which(command[0])
    if path is None:
        return Finding("tools", name, "absent", f"for {used_by}: {command[0]} is not on the PATH", mend)
    try:
        said = subprocess.run([path, *command[1:]], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("tools", name, "absent", f"for {used_by}: {path} does not run ({error})", mend)
    lines = [line for line in f"{said.stdout}\n{said.stderr}".splitlines() if line.strip()]
    found = re.sub(r"\x1b\[[\d;]*m", "", lines[0]).strip() if lines else "it says nothing"
    if said.returncode or (name == "Java" and _major(found) not in _JAVA):
        return Finding("tools", name, "absent", f"for {used_by}: {found}", mend)
    return Finding("tools", name, "ok", f"for {used_by}: {found}")


def _major(said: str) -> int | None:
    """17 of `openjdk version "17.0.15"`."""
    found = re.search(r'"(\d+)', said)
    return int(found[1]) if found else None


def _in_process(there: set[str]) -> Finding:
    return Finding("runners", "in-process", "ok", "this process, a thread a CPU; needs nothing else")


def _multi_processing(there: set[str]) -> Finding:
    return Finding("runners", "multi-processing", "ok", "a process a CPU; 0.4 GB of memory for each")


def cache() -> Path:
    """Where the Makefile keeps what it builds."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / PACKAGE


def _prism(there: set[str]) -> Finding:
    built = cache() / "prism" / "prism"
    if built.is_file():
        return Finding("runners", "prism", "ok", f"--prism_location={built}")
    mend = f"make {built} builds it" if "Go" in there else "install Go, then `make test-prism` builds it"
    said = "no prism was built; without --prism_location=FILE Beam fetches it from GitHub"
    return Finding("runners", "prism", "absent", said, mend)


def _flink(there: set[str]) -> Finding:
    needs = "Java 11 or 17, a job server's jar and Beam's boot program"
    files = [cache() / "flink" / name for name in ("flink-job-server.jar", "container")]
    if "Java" not in there:
        mend = "install Java 17; docs/runners/flink.md"
        return Finding("runners", "flink", "absent", f"needs {needs}: no such Java", mend)
    if not all(file.is_file() for file in files):
        built_by = " and ".join(tool for tool in ("Maven", "Go") if tool not in there)
        mend = f"install {built_by}, then make flink" if built_by else "make flink (some three minutes, once)"
        return Finding("runners", "flink", "absent", f"needs {needs}: not built in {files[0].parent}", mend)
    return Finding("runners", "flink", "ok", f"--flink_job_server_jar={files[0]}; `make flink-cluster` starts one")


def _dataflow(there: set[str]) -> Finding:
    page = "docs/runners/dataflow.md"
    if "gcp" not in there:
        said = "needs the extra gcp, an account and a bucket"
        return Finding("runners", "dataflow", "absent", said, f'pip install "{PACKAGE}[gcp]"; {page}')
    return Finding("runners", "dataflow", "ok", f"credentials and buckets were not asked for anything; {page}")


_RUNNERS: dict[str, Callable[[set[str]], Finding]] = {
    "in-process": _in_process,
    "multi-processing": _multi_processing,
    "prism": _prism,
    "flink": _flink,
    "dataflow": _dataflow,
}


def _gib(size: int) -> str:
    return f"{size / _GIB:.1f} GiB"
