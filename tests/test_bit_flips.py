"""No flipped bit in a file of a sweep is taken without a word."""

from __future__ import annotations

from pathlib import Path

import bit_flips
import pytest

FLIPS = 30


def test_no_flipped_bit_is_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("ERROR")
    for name, kind in bit_flips.kinds(tmp_path).items():
        counts = bit_flips.count(kind, FLIPS, seed=1)
        assert counts.taken == 0, name
        is_small = name == "states of a part"  # a block in a large file
        assert counts.refused > 0 or is_small, name
        assert counts.refused + counts.harmless == FLIPS


def test_content_that_nothing_protects_is_counted_as_taken(tmp_path: Path) -> None:
    path = tmp_path / "plain"
    path.write_bytes(b"a text without a checksum")
    counts = bit_flips.count(bit_flips.Kind(path, path.read_bytes), FLIPS, seed=1)
    assert (counts.refused, counts.harmless, counts.taken) == (0, 0, FLIPS)
