"""`%mistral alt` and `jupyter mistral alt`: alt text for the figures of a saved notebook, shown as a diff, written on the user's word."""

from __future__ import annotations
