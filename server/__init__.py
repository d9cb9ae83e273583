"""The reference server: an OCPP back end with Redis transport that meets every requirement of the suites."""
