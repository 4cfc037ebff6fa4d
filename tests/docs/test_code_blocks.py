"""The commands of the pages exist: commands, options, sweeps, keys, scripts and make targets.

Nothing is run. A word in capitals, such as NAME, stands for anything.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from launch.cli.commands import main as redescent
from trainers import config

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
EXAMPLE = DOCS / "example"
"""The project that `redescent init` writes; pages about own projects use its files."""
CONFIGS = (ROOT / "configs", EXAMPLE / "configs")
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`]+)`")
COMMANDS = ("redescent", "python", "make")
ANYTHING = re.compile(r"[A-Z][A-Z_]+(\.\.\.|\.npy)?|\.\.\.")
OF_SWEEPS = (
    "plan", "submit", "calibrate", "resume", "status", "cancel", "compact",
)  # fmt: skip
WITH_OVERRIDES = ("plan", "submit", "calibrate", "resume", "doctor")
GROUPS = ("model", "data", "optim", "trainer", "preset", "sweep", "hydra/launcher")
FREE_KEYS = ("seed", "seeds", "axes", "where", "zip", "canary", "compact", "name", "logs")
FREE_SECTIONS = ("hydra.launcher.", "task.", "limits.", "search.", "axes.", "of.", "notify.")


def blocks(page: Path, language: str) -> list[str]:
    return [body for name, body in BLOCK.findall(page.read_text()) if name == language]


def command_lines(page: Path) -> Iterator[str]:
    """Lines of blocks without a language, and code in the text that begins with a command."""
    for block in blocks(page, ""):
        for line in block.replace("\\\n", " ").splitlines():
            yield line.partition(" #")[0].strip()
    prose = BLOCK.sub("", page.read_text())
    for span in SPAN.findall(prose):
        text = " ".join(span.split())
        if text.startswith(COMMANDS) and " " in text:
            yield text.replace("\\|", "|")


def commands(line: str) -> Iterator[list[str]]:
    """The words of every command of a line: those of `$(...)`, and around `&&` and `|`."""
    line = re.sub(r'^eval "\$\((.*)\)"$', r"\1", line)
    for part in re.split(r"\s(?:&&|\|)\s", line):
        words = shlex.split(part)
        if words and words[0].removeprefix(".venv/bin/") in COMMANDS:
            yield [words[0].removeprefix(".venv/bin/"), *words[1:]]


def example_sweeps() -> set[str]:
    """Sweeps that exist, and those that a page writes."""
    names = {path.stem for configs in CONFIGS for path in (configs / "sweep").glob("*.yaml")}
    for page in PAGES:
        for block in blocks(page, "yaml"):
            content = yaml.safe_load(block) or {}
            if "name" in content:
                names.add(content["name"])
            if "of" in content:
                names.add(content["of"]["sweep"])
    return names


SWEEPS = example_sweeps()


def check_sweep(name: str) -> None:
    stem = name.removeprefix("logs/").removesuffix("/calibration")
    assert ANYTHING.fullmatch(stem) or stem in SWEEPS | {"published"}, f"{name}: no such sweep"


def check_override(text: str) -> None:
    """A group with a file, or a key of some configuration."""
    key, sign, value = text.lstrip("+~").partition("=")
    if ANYTHING.fullmatch(text) or re.search(r"[<>]|[!=]=", text):  # or a condition of --again
        return
    if key in GROUPS and sign:
        if not ANYTHING.fullmatch(value):
            files = [configs / key / f"{value}.yaml" for configs in CONFIGS]
            assert any(file.exists() for file in files), text
        return
    is_free = key in FREE_KEYS or key.startswith(FREE_SECTIONS)
    assert is_free or key in config.columns(), f"{text}: no such key"


def check_redescent(words: list[str]) -> None:
    if not words or words == ["--help"] or ANYTHING.fullmatch(words[0]):
        return
    name, *arguments = words
    command = redescent.commands[name]
    if not arguments or "--help" in arguments:  # alone it only names the command
        return
    context = command.make_context(name, list(arguments))
    given = context.params
    if name in OF_SWEEPS and given.get("name"):
        check_sweep(given["name"])
    if name in WITH_OVERRIDES:
        for text in given["overrides"]:
            check_override(text)


def check_make(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for word in words:
        variable, sign, _ = word.partition("=")
        pattern = rf"^{variable} \?=" if sign else rf"^{re.escape(word)}:"
        assert re.search(pattern, makefile, re.MULTILINE), f"make {word}: not in the Makefile"


def check_module(module: str, arguments: list[str]) -> None:
    """A module of the project; those of others are not looked at."""
    if module.split(".")[0] not in ("launch", "analysis", "trainers"):
        return
    assert (ROOT / f"{module.replace('.', '/')}.py").exists(), module
    if module == "launch.train":
        for text in arguments:
            if text != "-m":
                check_override(text.partition(",")[0])


def check_script(script: str, arguments: list[str]) -> None:
    path = ROOT / script if (ROOT / script).exists() else EXAMPLE / script
    assert path.exists(), script
    sources = path.read_text()
    if path.parent.name == "analysis":
        sources += "".join(file.read_text() for file in path.parent.glob("*/*.py"))
    for word in arguments:
        if word.startswith("--"):
            field = rf"^    {word.removeprefix('--')}: "  # of a dataclass that becomes options
            is_option = f'"{word}"' in sources or re.search(field, sources, re.MULTILINE)
            assert is_option, f"{script} {word}: no such option"
        elif word.startswith("logs/"):
            check_sweep(word)


def check_python(words: list[str]) -> None:
    if words[0] == "-c":
        compile(words[1], "<page>", "exec")
    elif words[0] == "-m":
        check_module(words[1], words[2:])
    elif not ANYTHING.fullmatch(Path(words[0]).stem):
        check_script(words[0], words[1:])


CHECKS = {"redescent": check_redescent, "make": check_make, "python": check_python}


def check_line(line: str) -> None:
    for name, *words in commands(line):
        CHECKS[name](words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_the_pages_exist(page: Path) -> None:
    for line in command_lines(page):
        try:
            check_line(line)
        except (click.ClickException, KeyError, AssertionError) as error:
            pytest.fail(f"`{line}`: {error}")


@pytest.mark.parametrize("line", [
    "redescent sumbit demo", "redescent submit demo --now", "redescent submit dmeo",
    "redescent submit demo trainer.epoch=3", "redescent submit demo model=cnm", "make figure",
    "redescent submit demo hydra/launcher=v101", "python analysis/fig2.py logs/demo",
    "python analysis/fig2_ab.py logs/demo --where2 a", "python -m launch.trian",
    "redescent why a b", "python analysis/fig2_ab.py logs/dmeo && make demo",
])  # fmt: skip
def test_a_command_that_does_not_exist_is_noticed(line: str) -> None:
    with pytest.raises((click.ClickException, KeyError, AssertionError)):
        check_line(line)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_of_the_pages_compiles(page: Path) -> None:
    for block in blocks(page, "python"):
        compile(block, str(page), "exec")
