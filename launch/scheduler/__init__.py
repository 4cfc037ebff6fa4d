"""SLURM, this machine or this process: where tasks run."""
