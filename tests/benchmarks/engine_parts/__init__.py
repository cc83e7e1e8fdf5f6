"""The parts of `engine.py`: one section of its page each, and what they share."""
