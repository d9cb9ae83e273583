"""Faults on Redis, its network and the server: the fault proxy, and what proves that a fault took effect."""
