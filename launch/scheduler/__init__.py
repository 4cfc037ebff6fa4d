"""Where tasks run: SLURM, this machine or this process."""
