"""Figures from measurements."""
