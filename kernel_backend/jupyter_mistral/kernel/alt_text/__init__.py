"""`%mistral alt` and `jupyter mistral alt`: alt text for the figures of a saved notebook, shown as a diff and written on request."""

from __future__ import annotations
