"""What cells take: seconds, concurrency, tasks. Pure."""
