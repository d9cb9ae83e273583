"""OCPP-J messages, schemas and the handlers of the actions."""
