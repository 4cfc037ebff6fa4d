"""Double descent over training time, width, samples and parameters."""
