"""The WebSocket side: connections of charge points, their sessions and the messages of both directions."""
