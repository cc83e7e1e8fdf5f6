"""Replaces secrets in the user's values with `‹hidden›`. The patterns are in `context/secrets/`; compiling them takes a moment, so
they are imported with the first value and not when the magics are loaded."""

from __future__ import annotations

HIDDEN = "‹hidden›"


def is_secret_name(name: str) -> bool:
    """Whether a variable with this name is assumed to contain a secret."""
    from ...context.secrets import names

    return names.is_secret_name(name)


def is_secret_column(name: str) -> bool:
    """Whether a table column with this name is assumed to contain secrets."""
    from ...context.secrets import names

    return names.is_secret_column(name)


def mask(text: str) -> str:
    """Hide everything in `text` that looks like a secret or is assigned to a name that suggests one."""
    from ...context.secrets import mask as secrets

    return secrets.mask(text)[0].replace(secrets.MASK, HIDDEN)
