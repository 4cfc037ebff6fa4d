"""Published numbers for the theory's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

REFERENCE = Path(__file__).resolve().parents[4] / "shared" / "reference"


@pytest.fixture(scope="session")
def theory_reference() -> Path:
    """Folder of the reference tables; skips where it does not stand beside the repository."""
    if not (REFERENCE / "analytic_fast_slow_reference.csv").exists():
        pytest.skip("the reference tables are not beside the repository (../shared/reference)")
    return REFERENCE
