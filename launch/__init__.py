"""Turn a sweep file into running jobs: expansion, plans, SLURM, state, workers. Never imports
torch.
"""
