"""OCPP: frames, envelopes, schemas, and one package of handlers for each version."""
