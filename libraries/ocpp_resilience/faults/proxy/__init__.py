"""The TCP fault proxy: a separate process with Toxiproxy's HTTP API."""
