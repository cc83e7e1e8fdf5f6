"""The sections of `engine.py`, and what they share."""
