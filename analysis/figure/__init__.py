"""What every figure script shares: queries, provenance, output, style."""
