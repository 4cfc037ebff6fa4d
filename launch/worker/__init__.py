"""What runs inside a job, without SLURM: a parent, and the children that train."""
