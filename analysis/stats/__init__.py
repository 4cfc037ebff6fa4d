"""Statistics of curves: pure functions of arrays."""
