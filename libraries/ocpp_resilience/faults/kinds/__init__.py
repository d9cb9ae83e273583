"""One file a fault. A new fault is a new file here; nothing else has to name it."""
