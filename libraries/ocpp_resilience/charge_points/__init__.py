"""Simulated charge points on real WebSockets (OCPP-J 1.6), all on the background loop."""

from __future__ import annotations
