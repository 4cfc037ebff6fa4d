"""A model and a data set for redescent. Sweeps are planned without torch: nothing here imports it
at the top of a module.
"""
