"""Grokking: runs, first steps, curves and embeddings."""
