"""OCPP-J: frames, schemas, sample payloads, and invalid messages."""
