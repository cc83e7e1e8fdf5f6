"""Tab completion for `%mistral` and `%%mistral`: flags and their values, commands, models, figures. Never starts a model host."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from IPython.core.completer import SimpleCompletion, context_matcher
from IPython.core.error import UsageError

from ..protocol.failures import Failure
from ..protocol.requests import SCOPES
from ..protocol.status import KV
from .figures.history import is_figure
from .host.client import Client
from .line.flags import FLAGS, FORMAT_NAMES, LONG_FLAGS, take_flags
from .line.read_arguments import OCR_MODES
from .line.subcommands import COMMAND_FLAGS, COMMANDS
from .session import Session

TIMEOUT_S = 2.0  # for the names of models, while the user waits for the completions
_COMMAND_WORDS = {
    **COMMAND_FLAGS,
    "list": ("all", "local"),
    "read": ("--pages", "--ocr", "--out", "--cell"),
    "help": COMMANDS,
}
_FLAG_VALUES = {"--format": tuple(FORMAT_NAMES), "--context": SCOPES}
_COMMAND_FLAG_VALUES = {("load", "--kv"): KV, ("load", "--adapter"): ("none",), ("read", "--ocr"): OCR_MODES}


def make_matcher(session: Session) -> Callable[[Any], Any]:
    """A matcher for `Completer.custom_matchers` of IPython. Its matches replace those of Python and Jedi."""

    def match(context: Any) -> Any:
        line, symbol = context.text_until_cursor, context.token
        magic = line.split(None, 1)[0] if line.strip() else ""
        is_ours = magic in ("%mistral", "%%mistral") or (magic == "mistral" and session.is_automagic)
        words = complete(session, line, symbol) if is_ours else []
        return {
            "completions": [SimpleCompletion(word, type="magic") for word in words],
            "suppress": True,
            "ordered": True,
        }

    matcher: Callable[[Any], Any] = context_matcher(identifier="mistral", priority=100)(match)
    return matcher


def complete(session: Session, line: str, symbol: str) -> list[str]:
    """The completions of `symbol`, the word that `line` ends with. Empty inside a question and for file names."""
    magic, _, rest = line.lstrip().partition(" ")
    before = rest.removesuffix(symbol) if symbol else rest
    words = before.split()
    if words and words[-1] in FLAGS:
        candidates = _flag_values(session, FLAGS[words[-1]])
    else:
        try:
            _, after_flags, flags_ended = take_flags(before.strip())
        except UsageError:
            return []
        candidates = [] if flags_ended else _next_words(session, after_flags.split(), magic.startswith("%%"))
    # flags are many, so they are offered only once a dash is typed
    return [word for word in candidates if word.startswith(symbol) and (symbol or not word.startswith("-"))]


def _flag_values(session: Session, flag: str) -> list[str]:
    if flag == "--model":
        return _model_names(session)
    if flag == "--see":
        return _figure_names(session)
    return list(_FLAG_VALUES.get(flag, ()))


def _next_words(session: Session, words: list[str], is_cell_magic: bool) -> list[str]:
    """What may follow the flags and the `words` of a command."""
    if is_cell_magic:
        return [] if words else [*session.aliases, *LONG_FLAGS]
    if not words:
        return [*COMMANDS, *LONG_FLAGS]
    name, *arguments = words
    if arguments and (name, arguments[-1]) in _COMMAND_FLAG_VALUES:
        return list(_COMMAND_FLAG_VALUES[name, arguments[-1]])
    if name == "explain" and not arguments:
        return [*_figure_names(session), *_COMMAND_WORDS[name]]
    if name == "load" and all(word.startswith("-") for word in arguments):
        return [*_model_names(session), *_COMMAND_WORDS[name]]
    if name == "alias":
        return _model_names(session) if len(arguments) == 1 else []
    if name == "dealias":
        return list(session.aliases) if not arguments else []
    return list(_COMMAND_WORDS.get(name, ()))


def _model_names(session: Session) -> list[str]:
    """Aliases, and the models that the running host lists."""
    rows: Any = []
    with contextlib.suppress(Failure):
        rows = Client.find(start=False, timeout=TIMEOUT_S).get("/mistral/api/models")
    rows = rows.get("models", []) if isinstance(rows, dict) else rows
    return [*session.aliases, *(str(row["name"]) for row in rows)]


def _figure_names(session: Session) -> list[str]:
    variables = list(session.namespace.items())
    return [name for name, value in variables if not name.startswith("_") and is_figure(value)]
