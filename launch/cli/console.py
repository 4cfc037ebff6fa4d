"""The console of all commands: what files and users wrote is shown as it is, never interpreted."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters but tab and line feed, marks that turn the direction of text, surrogates."""


def visible(text: str) -> str:
    """The text with control characters as escape sequences: they could command the terminal."""
    return _UNSEEN.sub(lambda match: ascii(match.group())[1:-1], text)


class PlainConsole(Console):
    """A console that takes neither markup nor emoji from text, and sends no control character."""

    def __init__(self, **options: Any) -> None:
        if isinstance(sys.stdout, io.TextIOWrapper):  # a locale may know fewer characters
            sys.stdout.reconfigure(errors="backslashreplace")
        super().__init__(markup=False, emoji=False, highlight=False, soft_wrap=True, **options)

    def on_broken_pipe(self) -> None:
        """Raise the BrokenPipeError; rich would end the process with status 1."""
        raise

    def render_str(self, text: str, **options: Any) -> Text:
        """The text as rich shows it in a table, where its width counts."""
        return super().render_str(visible(text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """What is sent to the terminal; only rich's own segments command it."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(visible(segment.text), segment.style)


console = PlainConsole()
errors = PlainConsole(stderr=True)


def styled(*parts: str | tuple[str, str]) -> Text:
    """A line of plain parts and of (text, style) pairs."""
    return Text.assemble(*parts)
