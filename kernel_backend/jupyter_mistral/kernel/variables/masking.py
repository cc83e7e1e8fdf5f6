"""What of the user's values a model may not read becomes `‹hidden›`. The table of secrets is `context/secrets/mask.py` with
`context/secrets/names.py`; it takes a moment to compile, so it is read at the first value and not when the magics are loaded."""

from __future__ import annotations

HIDDEN = "‹hidden›"


def is_secret_name(name: str) -> bool:
    """Whether a variable of that name is taken to hold a secret."""
    from ...context.secrets import names

    return names.is_secret_name(name)


def is_secret_column(name: str) -> bool:
    """Whether a table's column of that name is taken to hold secrets."""
    from ...context.secrets import names

    return names.is_secret_column(name)


def mask(text: str) -> str:
    """`text` with everything that has the shape of a secret, or is assigned to such a name, hidden."""
    from ...context.secrets import mask as secrets

    return secrets.mask(text)[0].replace(secrets.MASK, HIDDEN)
