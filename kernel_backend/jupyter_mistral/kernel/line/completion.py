"""Tab behind `%mistral` and `%%mistral`: flags and their values, commands, models, figures. Starts no host."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from IPython.core.completer import SimpleCompletion, context_matcher
from IPython.core.error import UsageError

from ...protocol.failures import Failure
from ...protocol.requests import SCOPES
from ...protocol.status import KV
from ..figures.history import is_figure
from ..host.client import Client
from .arguments import COMMANDS, FLAGS, FORMAT_NAMES, TAKES, take_flags

if TYPE_CHECKING:
    from ..magics import MistralMagics

PATIENCE_S = 2.0  # for the names of models: somebody waits with a finger on Tab
_LONG = tuple(flag for flag in FLAGS if flag.startswith("--"))
_WORDS = {
    **TAKES,
    "list": ("all", "local"),
    "read": ("--pages", "--ocr", "--out", "--cell"),
    "help": COMMANDS,
}
_VALUES = {"--format": tuple(FORMAT_NAMES), "--context": SCOPES}
_COMMAND_VALUES = {("load", "--kv"): KV, ("load", "--adapter"): ("none",), ("read", "--ocr"): ("auto", "on", "off")}


def matcher(magics: MistralMagics) -> Callable[[Any], Any]:
    """For `Completer.custom_matchers` of IPython: where it offers anything, what Python and Jedi know is not offered."""

    def match(context: Any) -> Any:
        line, symbol = context.text_until_cursor, context.token
        magic = line.split(None, 1)[0] if line.strip() else ""
        bare = magic == "mistral" and magics.is_automagic
        found = complete(magics, line, symbol) if bare or magic in ("%mistral", "%%mistral") else []
        return {
            "completions": [SimpleCompletion(word, type="magic") for word in found],
            "suppress": True,
            "ordered": True,
        }

    marked: Callable[[Any], Any] = context_matcher(identifier="mistral", priority=100)(match)
    return marked


def complete(magics: MistralMagics, line: str, symbol: str) -> list[str]:
    """What may stand for `symbol`, the word that `line` ends with; empty inside a question and where a file's name stands."""
    magic, _, rest = line.lstrip().partition(" ")
    before = rest.removesuffix(symbol) if symbol else rest
    words = before.split()
    if words and words[-1] in FLAGS:
        found = _value(magics, FLAGS[words[-1]])
    else:
        try:
            _, left, ended = take_flags(before.strip())
        except UsageError:
            return []
        found = _next(magics, left.split(), magic.startswith("%%")) if not ended else []
    # a lone word offers no flags: they are many, and a dash brings them
    return [word for word in found if word.startswith(symbol) and (symbol or not word.startswith("-"))]


def _value(magics: MistralMagics, flag: str) -> list[str]:
    if flag == "--model":
        return _models(magics)
    if flag == "--see":
        return _figures(magics)
    return list(_VALUES.get(flag, ()))


def _next(magics: MistralMagics, words: list[str], is_cell: bool) -> list[str]:
    """What may stand behind the flags, and behind `words` of a command."""
    if is_cell:
        return [] if words else [*magics.aliases, *_LONG]
    if not words:
        return [*COMMANDS, *_LONG]
    name, *said = words
    if said and (name, said[-1]) in _COMMAND_VALUES:
        return list(_COMMAND_VALUES[name, said[-1]])
    if name == "explain" and not said:
        return [*_figures(magics), *_WORDS[name]]
    if name == "load" and all(word.startswith("-") for word in said):
        return [*_models(magics), *_WORDS[name]]
    if name in ("alias", "register", "update", "dealias", "delete"):
        knows = name in ("update", "dealias", "delete")
        is_model = len(said) == 1 and name in ("alias", "register", "update")
        return _models(magics) if is_model else list(magics.aliases) if knows and not said else []
    return list(_WORDS.get(name, ()))


def _models(magics: MistralMagics) -> list[str]:
    """Aliases, and the models that the running host knows."""
    rows: Any = []
    with contextlib.suppress(Failure):
        rows = Client.find(start=False, timeout=PATIENCE_S).get("/mistral/api/models")
    rows = rows.get("models", []) if isinstance(rows, dict) else rows
    return [*magics.aliases, *(str(row["name"]) for row in rows)]


def _figures(magics: MistralMagics) -> list[str]:
    return [name for name, thing in list(magics.namespace.items()) if not name.startswith("_") and is_figure(thing)]
