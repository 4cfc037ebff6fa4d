"""Parsers for argparse, and types of options, which name what was found and expected."""

from __future__ import annotations

import argparse
import math


def documented(doc: str | None) -> argparse.ArgumentParser:
    """A parser whose help begins with a module's docstring, line by line as it is written."""
    formatter = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(description=doc, formatter_class=formatter)


def positive(text: str) -> int:
    """An integer of at least 1; argparse.ArgumentTypeError for other text."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected an integer of at least 1")
    return int(text)


def stem(text: str) -> str:
    """The name of files without its ending; argparse.ArgumentTypeError for a path."""
    if not text or "/" in text:
        raise argparse.ArgumentTypeError(
            f"found {text!r}, expected a name without a folder; --out names the folder"
        )
    return text


def finite(text: str) -> float:
    """A number that is neither infinite nor NaN; argparse.ArgumentTypeError for other text."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number, such as 0.1")
    return number
