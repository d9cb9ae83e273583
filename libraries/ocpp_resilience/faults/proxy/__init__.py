"""The TCP fault proxy: a process of its own with Toxiproxy's HTTP API."""
