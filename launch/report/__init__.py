"""The state of a sweep and what it has logged, as text for the terminal and as one HTML page."""
