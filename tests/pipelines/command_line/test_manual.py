"""The help: every command and option is explained, with default and exit status; commands are found by purpose."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from pipelines.command_line.cli import cli
from pipelines.command_line.commented_toml import SECTIONS
from pipelines.command_line.manual import EXIT, SETTINGS


def commands(group: click.Group, above: str = "awe") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{above} {name}")
        else:
            yield f"{above} {name}", command


COMMANDS = dict(commands(cli))


def said(*arguments: str) -> str:
    found = CliRunner().invoke(cli, [*arguments, "--help"], prog_name="awe", max_content_width=200)
    assert found.exit_code == 0
    return " ".join(found.output.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_does_and_how_it_ends(name: str) -> None:
    text = said(*name.split()[1:])
    assert " ".join((COMMANDS[name].help or "").replace("\b", "").split("\n\n")[0].split()) in text
    assert " ".join(EXIT.replace("\b", "").split()) in text
    if (
        any(isinstance(one, click.Argument) and one.name == "flags" for one in COMMANDS[name].params)
        and name != "awe knn"
    ):
        assert " ".join(SETTINGS.replace("\b", "").split()) in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_its_meaning_and_default(name: str) -> None:
    for option in COMMANDS[name].params:
        if isinstance(option, click.Option):
            assert option.help, option.opts
            known = option.required or option.is_flag or option.show_default or "[default:" in option.help
            assert known or "required" in option.help, f"{name} {option.opts}: no default is said"


def test_the_program_lists_every_command_once_by_its_purpose() -> None:
    lines = CliRunner().invoke(cli, ["--help"], prog_name="awe").output.splitlines()
    for name in cli.commands:
        assert sum(line.startswith(f"  {name} ") for line in lines) == 1, name
    for words in ("To begin:", "What came out:", "Exit status:", "_AWE_COMPLETE=bash_source", "Examples:"):
        assert any(words in line for line in lines), words


def test_a_command_of_no_list_is_not_lost() -> None:
    group = type(cli)("awe", commands={"extra": click.Command("extra", help="One more.")})
    assert "Others:\n  extra  One more." in CliRunner().invoke(group, ["--help"]).output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_are_given_their_completion(shell: str) -> None:
    found = CliRunner().invoke(cli, [], prog_name="awe", env={"_AWE_COMPLETE": f"{shell}_source"})
    assert found.exit_code == 0
    assert "_AWE_COMPLETE" in found.output


def test_completion_knows_commands_and_options() -> None:
    asked = {"_AWE_COMPLETE": "bash_complete", "COMP_WORDS": "awe neigh", "COMP_CWORD": "1"}
    assert "neighbours" in CliRunner().invoke(cli, [], prog_name="awe", env=asked).output
    asked = {"_AWE_COMPLETE": "bash_complete", "COMP_WORDS": "awe export --form", "COMP_CWORD": "2"}
    assert "--format" in CliRunner().invoke(cli, [], prog_name="awe", env=asked).output


def in_a_new_process(program: str, *arguments: str) -> object:
    """The last line that a program says, as JSON."""
    said = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True, timeout=120
    )
    return json.loads(said.stdout.splitlines()[-1])


def test_what_runs_no_job_does_not_wait_for_the_import_of_beam(tmp_path: Path) -> None:
    program = """
import json, os, sys
from click.testing import CliRunner
from pipelines.command_line.cli import cli
with_beam = []
for line in sys.argv[1:]:
    CliRunner().invoke(cli, line.split(), prog_name="awe")
    with_beam += [line] * ("apache_beam" in sys.modules)
for words in ("awe neigh", "awe export --form"):
    asked = {"_AWE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    CliRunner().invoke(cli, [], prog_name="awe", env=asked)
    with_beam += [words] * ("apache_beam" in sys.modules)
print(json.dumps(with_beam))
"""
    lines = ["--help", "train --help", "keys data", f"doctor --run={tmp_path}", f"model show {tmp_path}"]
    assert in_a_new_process(program, *lines) == []
    assert in_a_new_process(program, f"neighbours --run={tmp_path} --label=oak") != []


def test_every_blas_is_loaded_before_the_commands_are_held_to_one_thread() -> None:
    program = """
import json
from threadpoolctl import threadpool_info
from pipelines.command_line import cli
held = {one["filepath"] for one in threadpool_info()}
import pipelines.whole_run
print(json.dumps(sorted({one["filepath"] for one in threadpool_info()} - held)))
"""
    assert in_a_new_process(program) == []


def test_keys_are_all_listed_with_their_defaults() -> None:
    text = CliRunner().invoke(cli, ["keys"]).output
    for name, section in SECTIONS.items():
        assert f"[{name}]  #" in text
        for key, field in section.model_fields.items():
            assert field.description
            assert f"# {field.description}" in text
            assert f"# {key} = " in text
    assert "# learning_rate = 0.03\n" in text
    assert "one of sum, max" in text
    assert "[train]" not in CliRunner().invoke(cli, ["keys", "data"]).output
