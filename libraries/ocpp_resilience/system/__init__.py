"""The system under test: its processes, health, metrics, log records and inspection."""
