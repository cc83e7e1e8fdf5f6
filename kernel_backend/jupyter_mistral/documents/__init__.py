"""Decodes images and documents from outside in a child process that is sealed, limited and used once.

`decoder.py` is the parent's side, `__main__.py` the child. No other code parses a file. No torch, no server.
"""
