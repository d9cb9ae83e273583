"""Faults on Redis, its network and the server: the fault proxy, and the proof that a fault took effect."""
