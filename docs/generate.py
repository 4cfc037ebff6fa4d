"""Write the pages of docs/ that come from the code or from results: `python docs/generate.py`.

In reference/: configuration.md from configs/ and the dataclasses of trainers/config, commands.md
from the command line, shipped_sweeps.md from the first lines of the sweep files, columns.md from
the metrics of the trainers, and sweep.schema.json for editors. In results/: fidelity.md from
published.yaml and the records of figures. With --check nothing is written; the exit status is 1 if
a file is not current.
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click

DOCS = Path(__file__).resolve().parent
if __name__ == "__main__":
    sys.path.insert(0, str(DOCS.parent))

import config_files  # noqa: E402
import fidelity  # noqa: E402
from config_files import CONFIGS, ConfigFile, Key  # noqa: E402
from sweep_schema import sweep_schema  # noqa: E402

import trainers  # noqa: E402
from launch.cli.commands import main as command_line  # noqa: E402
from trainers import config, schema  # noqa: E402

NOTICE = "<!-- Written by docs/generate.py from {}: edit that, then run `make docs`. -->"

TRAINERS = ("vision", "algorithmic", "minima", *config.MEASURES, "noop")


def pages() -> dict[str, str]:
    """The text of every generated file, by its path below docs/."""
    schema_text = json.dumps(sweep_schema(), indent=1, ensure_ascii=False) + "\n"
    return {
        "reference/configuration.md": _page(configuration()),
        "reference/commands.md": _page(commands()),
        "reference/shipped_sweeps.md": _page(shipped_sweeps()),
        "reference/columns.md": _page(columns()),
        "reference/sweep.schema.json": schema_text,
        "results/fidelity.md": _page(fidelity.page(), "docs/published.yaml"),
    }


def _page(lines: Iterator[str], source: str = "the code") -> str:
    return "\n".join([NOTICE.format(source), "", *lines]).rstrip() + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table in Markdown; a bar in a cell is escaped."""
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
    yield ""


def prose(comment: str) -> str:
    """A comment as Markdown: outside `code`, marks of Markdown are shown as they are."""
    parts = comment.split("`")
    for i in range(0, len(parts), 2):
        for mark in "\\*_[":
            parts[i] = parts[i].replace(mark, f"\\{mark}")
        parts[i] = parts[i].replace("<", "&lt;")
    return "`".join(parts)


def meaning(comment: str, kind: str) -> str:
    """A comment as Markdown; empty where it only lists the choices that the type has too."""
    choices = {f"`{choice.strip()}`" for choice in comment.split("|")}
    return "" if choices == set(kind.split(", ")) else prose(comment)


def code(value: str) -> str:
    """A value in code style; empty where there is none."""
    return f"`{value}`" if value else ""


# configuration.md


def configuration() -> Iterator[str]:
    """Every key of configs/: default, type, meaning."""
    yield "# Configuration"
    yield ""
    yield "Every key of a configuration, with its default, type and meaning. Set a key in a sweep"
    yield "file, or on the command line (`trainer.epochs=200`). Choose a file of a group the same"
    yield "way (`model=cnn`). A key outside these tables is an error."
    yield ""
    yield from _base()
    for section in config_files.SECTIONS:
        yield from _section(section)
    yield from _presets()
    yield from _launchers()


def _base() -> Iterator[str]:
    yield "## Keys outside the groups"
    yield ""
    yield "They are in `configs/config.yaml`, and those of `configs/policy.yaml` follow. Every"
    yield "launcher includes the latter, and may set other values."
    yield ""
    names = ("config.yaml", "policy.yaml")
    keys = [key for name in names for key in config_files.read(CONFIGS / name, "").keys]
    keys = [key for key in keys if not key.path.startswith("hydra")]
    hints = config_files.hints(config.RunSettings, "run.")
    rows = []
    for key in keys:
        kind = config_files.describe_all(hints[key.path]) if key.path in hints else ""
        rows.append([code(key.path), code(key.default), kind, prose(key.comment)])
    yield from table(["key", "default", "type", "meaning"], rows)


def _section(section: str) -> Iterator[str]:
    files = config_files.read_group(section)
    kinds = config_files.kinds(section)
    yield f"## {section}"
    yield ""
    yield f"Choose a file of `configs/{section}/` with `{section}=NAME`. Files of one kind have the"
    yield "same keys and other defaults."
    yield ""
    for kind in dict.fromkeys(file.kind for file in files):
        same = [file for file in files if file.kind == kind]
        yield f"### {section}: {kind}"
        yield ""
        for file in same:
            yield f"* `{section}={file.name}`: {prose(file.description)}{_also(file)}"
        yield ""
        yield from _keys(section, same, config_files.hints(kinds[kind]))


def _also(file: ConfigFile) -> str:
    """What else a file chooses, as a sentence."""
    choices = ", ".join(f"`{choice}`" for choice in file.choices)
    return f". It also chooses {choices}." if choices else ""


def _keys(
    section: str, files: Sequence[ConfigFile], hints: Mapping[str, Sequence[object]]
) -> Iterator[str]:
    """The table of the keys of files of one kind, a column of defaults for each file."""
    by_path: dict[str, dict[str, Key]] = {}
    for file in files:
        for key in file.keys:
            by_path.setdefault(key.path, {})[file.name] = key
    rows = []
    for path, keys in by_path.items():
        if path == "name":
            continue
        defaults = [code(keys[file.name].default) if file.name in keys else "" for file in files]
        comment = next((key.comment for key in keys.values() if key.comment), "")
        kind = config_files.describe_all(hints[path]) if path in hints else ""
        rows.append([code(f"{section}.{path}"), *defaults, kind, meaning(comment, kind)])
    names = ["default"] if len(files) == 1 else [f"`{file.name}`" for file in files]
    if rows:
        yield from table(["key", *names, "type", "meaning"], rows)


def _presets() -> Iterator[str]:
    yield "## preset"
    yield ""
    yield "A preset sets keys of several groups at once: `preset=NAME`."
    yield ""
    rows = []
    for file in config_files.read_group("preset"):
        settings = [*file.choices]
        settings += [f"{key.path}={key.default}" for key in file.keys if key.default]
        rows.append([code(file.name), prose(file.description), ", ".join(map(code, settings))])
    yield from table(["preset", "what", "sets"], rows)


def _launchers() -> Iterator[str]:
    yield "## hydra/launcher"
    yield ""
    yield "A launcher says where cells run, and how they are packed into tasks. The keys below"
    yield "`hydra.launcher` are those of hydra-submitit-launcher. `plan`, `submit`, `resume` and"
    yield "`calibrate` take them on the command line."
    yield ""
    files = config_files.read_group("hydra/launcher")
    comments: dict[str, str] = {}
    for file in files:
        for key in file.keys:
            comments[key.path] = max(comments.get(key.path, ""), key.comment, key=len)
    for file in files:
        yield f"### launcher: {file.name}"
        yield ""
        yield prose(file.description) + "."
        yield ""
        rows = []
        for key in file.keys:
            comment = key.comment or comments[key.path]
            rows.append([code(key.path), code(key.default), prose(comment)])
        yield from table(["key", "value", "meaning"], rows)


# commands.md


def commands() -> Iterator[str]:
    """Every command with its arguments and options."""
    yield "# Commands"
    yield ""
    yield "NAME is a file in `configs/sweep/` and a folder in `logs/`. OVERRIDES use Hydra's"
    yield "grammar, such as `seeds=[0,1] trainer.epochs=200 hydra/launcher=v100`."
    yield "`redescent COMMAND --help` prints the same. [Exit statuses](exit_statuses.md) are on a"
    yield "page of their own."
    yield ""
    for name, command in command_line.commands.items():
        context = click.Context(command, info_name=f"redescent {name}")
        yield f"## {name}"
        yield ""
        yield "```text"
        yield " ".join([f"redescent {name}", *command.collect_usage_pieces(context)])
        yield "```"
        yield ""
        yield prose(inspect.cleandoc(command.help or ""))
        yield ""
        yield from _options(command, context)


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    rows = []
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record is not None and record[1]:
            rows.append([code(record[0]), prose(record[1])])
    if rows:
        yield from table(["option", "meaning"], rows)


# shipped_sweeps.md


def shipped_sweeps() -> Iterator[str]:
    """Every sweep of configs/sweep/ with the first lines of its file."""
    yield "# Shipped sweeps"
    yield ""
    yield "Every file of `configs/sweep/` and what it trains. A name that ends with `_small` is"
    yield "the version for two CPU cores. [Figures](figures.md) says which script draws which"
    yield "sweep."
    yield ""
    files = config_files.read_group("sweep")
    rows = [[code(file.name), prose(file.description)] for file in files]
    yield from table(["sweep", "what it trains"], rows)


# columns.md


def columns() -> Iterator[str]:
    """The columns of the rows that each trainer logs."""
    yield "# Columns of curves"
    yield ""
    yield "The rows of `store.curves`, one for each logged epoch or step of a cell. The same"
    yield "meanings and units are in the metadata of every Parquet file. For a metric with an entry"
    yield "under `best`, the runs table has the best value and its epoch beside the final value."
    yield ""
    yield "## Columns of every row"
    yield ""
    rows = []
    for field in schema.curve_schema([]):
        metadata = {key.decode(): value.decode() for key, value in field.metadata.items()}
        kind = "string" if field.name == "cell" else str(field.type)
        about = [metadata.get("unit", ""), prose(metadata["meaning"])]
        rows.append([code(field.name), kind, *about])
    yield from table(["column", "type", "unit", "meaning"], rows)
    for name in TRAINERS:
        yield f"## {name}"
        yield ""
        rows = []
        for metric in trainers.metrics(name):
            about = [metric.unit, prose(metric.meaning), metric.best or ""]
            rows.append([code(metric.name), metric.dtype, *about])
        yield from table(["column", "type", "unit", "meaning", "best"], rows)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if not current")
    options = parser.parse_args(arguments)
    stale = []
    for name, text in pages().items():
        path = DOCS / name
        if not path.exists() or path.read_text() != text:
            stale.append(name)
            if not options.check:
                path.write_text(text)
    if stale:
        print(f"{'not current' if options.check else 'wrote'}: {', '.join(stale)}")
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
