"""Redis as a client sees it, and the Redis services that a run starts."""
