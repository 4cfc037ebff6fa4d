"""What is measured of a training or of its weights."""
