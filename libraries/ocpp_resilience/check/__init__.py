"""Trying each part of a target profile against its system."""
