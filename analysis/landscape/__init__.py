"""What the figures of minima and their surroundings share."""
