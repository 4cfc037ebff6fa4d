"""Image sets, noise on their labels, and augmentation; importing this package itself imports
nothing heavy.
"""
