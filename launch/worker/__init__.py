"""What runs inside a job and knows no SLURM: a parent and the children that train."""
