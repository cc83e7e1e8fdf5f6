"""Names of variables, columns and settings that have secret values; used to mask text and to hide values."""

from __future__ import annotations

import re

# a secret follows such a word, alone or as part of a longer name
SURE = (
    r"passw(?:or)?ds?", "passwort", "passphrase", "kennwort", "contraseña", "mot_de_passe", "senha",
    r"secret(?:_?key)?s?", r"api_?-?keys?", r"access_?-?key(?:_?id)?s?", r"account_?keys?", r"auth_?-?keys?", r"private_?-?keys?",
    r"signing_?-?keys?", r"encryption_?-?keys?", r"client_?-?secrets?", "credentials?",
    r"(?:db|database|pg|sql|mysql|redis|mongo|smtp|imap|mail|ftp|ssh|proxy|user|root|admin)_?-?pass",
)  # fmt: skip
# too common in text, but a variable with such a name is not shown
LIKELY = ("keys?", "tokens?", "pwd", "pw", "auth", "bearer", "cookies?")
# a column called `key` holds join keys far more often than secrets
OF_COLUMNS = (*SURE, "token")

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def _whole_words(words: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"(?i)(?:^|[^a-z])(?:{'|'.join(words)})(?:[^a-z]|$)")


_NAMES, _COLUMNS = _whole_words((*SURE, *LIKELY)), _whole_words(OF_COLUMNS)


def is_secret_name(name: str) -> bool:
    """Whether a variable with this name has a secret value: `API_KEY`, `hfToken`, `db_password`; not `monkey` or `keyboard`."""
    return bool(_NAMES.search(_CAMEL.sub("_", name)))


def is_secret_column(name: str) -> bool:
    """Whether a column with this name has secret values."""
    return bool(_COLUMNS.search(_CAMEL.sub("_", name)))
