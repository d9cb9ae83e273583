"""State in Redis: its models, its keys and the view that handlers have of it."""
