"""Pictures and documents from outside, decoded in a child process that is sealed, bounded and used once.

`decoder.py` is the parent's side, `__main__.py` the child; nothing of a file is looked at anywhere else. No torch, no server.
"""
