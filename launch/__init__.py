"""From a sweep file to running jobs: expansion, plans, SLURM, state, the worker inside a job; never
imports torch.
"""
