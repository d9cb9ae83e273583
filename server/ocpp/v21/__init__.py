"""OCPP 2.1: OCPP 2.0.1 with periodic event streams, SEND and CALLRESULTERROR."""
