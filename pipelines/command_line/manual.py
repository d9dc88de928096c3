"""What `awe --help` says beside the options: commands by what they are for, examples, exit status, completion."""

from __future__ import annotations

import click

EXIT = """\b
Exit status:
  0         done, or up to date
  2         configuration or command line is wrong; the stage that finds it does nothing
  1         data, disk or a job failed; what was finished stands
  143, 130  ended by SIGTERM or SIGINT; the same command goes on

A failure is one line on standard error: what, where and the mend. A worker's traceback goes to RUN/log."""

SETTINGS = """\b
Settings:
  --section.key=value  over --config, as in --train.D=64; `awe keys` lists them
  --name=value         any option of Beam, as --direct_num_workers=4"""
"""The end of the help of every command that takes a configuration."""

PROGRAM = """Rank labels for examples: tags for images, items for users.

A linear embedding is trained with the WARP loss (Wsabie). Every example's nearest neighbours are found in it, and it is
trained again with each label weighted by how well it goes with the neighbours (AWE). A run is one directory: `awe run`
makes all of it, or what is not up to date, and a stage's own command makes that stage.

\b
Examples:
  awe doctor                                          what this machine has and lacks
  awe init /data/train.svm --test=/data/test.svm      writes train.toml
  awe run --config=train.toml --run=runs/mine         every stage; ends in a table
  awe neighbours --run=runs/mine --label=dolphin
  awe annotate --run=runs/mine --input=/data/new.svm --output=/data/annotated

\b
Shell completion, in ~/.bashrc, ~/.zshrc or config.fish:
  eval "$(_AWE_COMPLETE=bash_source awe)"
  eval "$(_AWE_COMPLETE=zsh_source awe)"
  _AWE_COMPLETE=fish_source awe | source"""

_GROUPS = {
    "To begin": ("doctor", "init", "keys", "plan"),
    "A run": ("run", "tune", "report"),
    "Its stages, in their order": ("ingest", "train", "embed", "affinity", "annotate", "evaluate"),
    "What came out": ("model", "neighbours", "export"),
    "The join alone": ("knn",),
}


class Manual(click.Group):
    """A group whose commands are listed by what they are for; those of no list come last."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the lists."""
        named = {name for names in _GROUPS.values() for name in names}
        others = tuple(name for name in self.list_commands(ctx) if name not in named)
        width = max(map(len, self.commands), default=0)
        for title, names in {**_GROUPS, "Others": others}.items():
            known = [(name, self.commands[name]) for name in names if name in self.commands]
            rows = [(f"{name:<{width}}", command.get_short_help_str(limit=200)) for name, command in known]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)
