"""Reading the logs of a sweep, the statistics of its curves, and one script for each figure.

Reads `logs/NAME` and nothing else; imports neither launch, trainers, torch nor hydra.
"""
