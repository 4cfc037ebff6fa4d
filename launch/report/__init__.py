"""How a sweep stands and what it has logged, as text for the terminal and as one HTML page."""
