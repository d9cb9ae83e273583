"""OCPP 1.6 with its security extension. Sections are those of the specification."""
