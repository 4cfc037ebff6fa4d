"""What the terminal is sent: data as it was written, and no command hidden in it."""

from __future__ import annotations

import io

import pytest
from rich.table import Table
from rich.text import Text

from launch.cli import logs
from launch.cli.console import PlainConsole, styled, visible


def shown(*renderables: object, colours: bool = False) -> str:
    """What the console writes."""
    file = io.StringIO()
    console = PlainConsole(file=file, width=80, force_terminal=colours)
    for renderable in renderables:
        console.print(renderable)
    return file.getvalue()


@pytest.mark.parametrize("text", ["[/x]", "[red]x[/red]", ":b:", "name=a:b:c{", "\\[a]", "é 实验"])
def test_data_is_shown_as_it_is(text: str) -> None:
    table = Table(text, title=text)
    table.add_row(text)
    table.add_row(Text(text, "red"))
    assert shown(text) == f"{text}\n"
    assert shown(styled((text, "bold"), text)) == f"{text}{text}\n"
    assert shown(table).count(text) == 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\x07\x08\x00\x7f\x9b", "a\\x07\\x08\\x00\\x7f\\x9b"),
        ("\u202eevil", "\\u202eevil"),
        ("\udcff", "\\udcff"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
    ],
)
def test_control_characters_are_shown_and_not_sent(text: str, expected: str) -> None:
    assert visible(text) == expected
    table = Table("a")
    table.add_row(Text(text))
    output = shown(text, Text(text), table)
    assert set(output).isdisjoint("\x1b\x07\x00\x7f\x9b\u202e\udcff")


def test_our_own_styles_reach_a_terminal() -> None:
    assert shown(styled(("error:", "red"), " x"), colours=True) == "\x1b[31merror:\x1b[0m x\n"


def test_the_output_of_a_job_commands_no_terminal() -> None:
    output = b"10%\r20%\r\ndone\x1b[2J\xff\n"
    assert logs._lines(output) == "10%\n20%\ndone\\x1b[2J\ufffd\n"


@pytest.mark.parametrize(
    ("output", "whole"),
    [(b"a\n", b"a\n"), ("é".encode()[:1], b""), (b"a" + "€".encode()[:2], b"a"), (b"a\r", b"a")],
)
def test_followed_output_splits_no_character_and_no_line_end(output: bytes, whole: bytes) -> None:
    assert logs._whole(output) == whole
