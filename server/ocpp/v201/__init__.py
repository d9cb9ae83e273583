"""OCPP 2.0.1. Use cases are those of part 2 of the specification."""
