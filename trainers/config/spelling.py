"""What a misspelt name may stand for. Standard library only: log folders are read in jobs too."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str], otherwise: str, most: int = 3) -> str:
    """A question with the `known` names that are spelt like `name`; `otherwise` if none is."""
    near = difflib.get_close_matches(name, list(known), n=most)
    return f"did you mean {' or '.join(near)}?" if near else otherwise
