"""Taking messages off the queue, handling them and committing their effects."""
