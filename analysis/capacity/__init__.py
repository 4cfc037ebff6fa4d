"""How many samples a training procedure fits: labels, selections, estimates and their figures."""
