"""The grammar of `%mistral COMMAND`: which lines are a command, and which are questions that start with the same word."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Container, Sequence
from dataclasses import dataclass, field

from IPython.core.error import UsageError

from ...protocol.status import KV
from .flags import FLAGS, LONG_FLAGS, Options, take_flags
from .read_arguments import split_read_words

COMMANDS = (
    *("help", "version", "status", "load", "unload", "list", "reset", "fix", "explain"),
    *("park", "alias", "dealias", "history", "chat", "read", "alt"),
)
# the flags that may follow a command
COMMAND_FLAGS = {
    "load": ("--no-download", "--kv", "--adapter", "--spill", "--no-spill"),
    "alt": ("--apply", "--overwrite"),
    **dict.fromkeys(("fix", "explain"), LONG_FLAGS),
}
# former commands and their replacements
REPLACED = {"register": "alias", "update": "alias", "delete": "dealias", "error": "explain"}
LAST_FIGURE = "the figure"

_LAST_FIGURE = re.compile(r"(?:(?:the|this|that|my) )?(?:last )?(?:plot|figure|chart|graph)[.?]?")
_REFERENCE = re.compile(r"(?:(?:In|Out|Err)\[)?(\d{1,6})\]?")
# a model's name contains a digit, dash, colon or slash
_MODEL = re.compile(r"[\w.:@/~+-]*[\d/:-][\w.:@/~+-]*")
_ALIAS = re.compile(r"[A-Za-z][\w.-]*")
# words that are never an alias: `alias vs reference` is a question
_CONNECTIVES = {"vs", "vs.", "versus", "or", "and", "of", "in", "for", "as", "is", "with", "a", "an", "the"}
_AS_QUESTION = "(To ask it as a question: %mistral -- …)"


@dataclass(frozen=True)
class Command:
    """A subcommand, its words, and the flags around it."""

    name: str
    words: tuple[str, ...] = ()
    options: Options = field(default_factory=Options)


def parse_command(
    line: str, options: Options, aliases: Collection[str], figures: Container[str] = ()
) -> Command | None:
    """Parse `line` as a command; None if it is a question that merely starts with a command's name. Raises `UsageError`."""
    name, *words = line.split()
    if name in REPLACED:
        _refuse_replaced(name, words, aliases)
    if name not in COMMANDS:
        return None
    if name == "read":
        read_words = split_read_words(line)
        return None if read_words is None else Command(name, read_words, options)
    if name in ("fix", "explain"):
        return _parse_error_command(line, options, aliases, figures)
    if _matches_grammar(name, words, aliases):
        return Command(name, tuple(words), options)
    _refuse_unknown_flag(name, words, aliases)
    _refuse_unknown_model(name, words)
    return None


def _parse_error_command(
    line: str, options: Options, aliases: Collection[str], figures: Container[str]
) -> Command | None:
    """`fix` and `explain`, which flags may follow: `%mistral fix 3 --seed 1`."""
    name, *words = line.split()
    at = next((i for i, word in enumerate(words) if word in FLAGS), len(words))
    words, tail = words[:at], line.split(None, at + 1)[at + 1 :]
    is_figure = name == "explain" and len(words) == 1 and words[0] in figures
    if not is_figure and name == "explain" and _LAST_FIGURE.fullmatch(" ".join(words).lower()):
        words = [LAST_FIGURE]
    elif not is_figure and not _matches_grammar(name, words, aliases):
        _refuse_unknown_flag(name, words, aliases)
        return None
    options, rest, _ = take_flags(tail[0], options) if tail else (options, "", False)
    return None if rest else Command(name, tuple(words), options)


def _refuse_replaced(name: str, words: list[str], aliases: Collection[str]) -> None:
    """Raise `UsageError` for a former command with its arguments; other lines that start with the word are questions."""
    replacement = REPLACED[name]
    is_command = _matches_grammar(replacement, words, aliases) and (name != "delete" or words[0] in aliases)
    if is_command:
        raise UsageError(f"%mistral has no command {name}. Did you mean {replacement}? {_AS_QUESTION}")


def _refuse_unknown_model(name: str, words: list[str]) -> None:
    """Raise `UsageError` for `alias NAME TARGET` where TARGET is neither a model nor an alias."""
    if name != "alias" or len(words) != 2 or words[1].endswith("?"):
        return
    if _ALIAS.fullmatch(words[0]) and words[0].lower() not in _CONNECTIVES:
        raise UsageError(f"{words[1]} is neither a model name (see `%mistral list`) nor an alias. {_AS_QUESTION}")


def _refuse_unknown_flag(name: str, words: list[str], aliases: Collection[str]) -> None:
    """Raise `UsageError` for a line that is a command up to an invalid flag, instead of sending it to a model."""
    at = next((i for i, word in enumerate(words) if re.match(r"--[a-z]", word)), None)
    flags = COMMAND_FLAGS.get(name, ())
    is_command = at is not None and _matches_grammar(name, words[:at], aliases) and (flags or len(words) == at + 1)
    if not is_command or words[-1].endswith("?"):
        return
    if name == "load" and "--kv" in words[:-1] and (kind := words[words.index("--kv") + 1]) not in KV:
        raise UsageError(f"--kv is {kind!r}, but must be one of {', '.join(KV)}.")
    for word in words[at:]:
        if word.startswith("--") and word not in flags:
            similar = difflib.get_close_matches(word, flags, 1)
            available = f"Available flags: {', '.join(flags)}." if flags else "It takes no flags."
            hint = f"Did you mean {similar[0]}?" if similar else available
            raise UsageError(f"%mistral {name} has no flag {word}. {hint} {_AS_QUESTION}")


def _matches_grammar(name: str, words: list[str], aliases: Collection[str]) -> bool:
    if name in ("fix", "explain"):
        return not words or (len(words) == 1 and parse_reference(words[0]) is not None)
    if name == "load":
        return parse_load_words(words) is not None and not any(word.endswith("?") for word in words)
    if name == "alt":
        files = [word for word in words if word.endswith(".ipynb")]
        return len(files) <= 1 and set(words) - set(files) <= {"--apply", "--overwrite"}
    if name == "list":
        return not words or words in (["all"], ["local"])
    if name == "alias":
        return not words or _is_new_alias(words, aliases)
    if name == "help":
        return len(words) <= 1 and set(words) <= set(COMMANDS)
    if name == "dealias":
        return len(words) == 1 and not words[0].endswith("?")
    return not words


def _is_new_alias(words: list[str], aliases: Collection[str]) -> bool:
    if len(words) != 2 or not _ALIAS.fullmatch(words[0]):
        return False
    return bool(_MODEL.fullmatch(words[1])) or words[1] in aliases


@dataclass(frozen=True)
class LoadArguments:
    """The words of `load`. adapter: "" removes the adapter; None, for each of the last three: leave it as it is."""

    model: str = ""
    may_download: bool = True
    kv: str | None = None
    adapter: str | None = None
    spill: bool | None = None


def parse_load_words(words: Sequence[str]) -> LoadArguments | None:
    """Parse `NAME --no-download --kv int8 --adapter sql --spill` (or `--no-spill`); None if it is anything else."""
    rest, spill = list(words), None
    for flag in ("--spill", "--no-spill"):
        if flag in rest:
            rest.remove(flag)
            spill = flag == "--spill"
    may_download = "--no-download" not in rest
    if not may_download:
        rest.remove("--no-download")
    kv, adapter = _pop_value(rest, "--kv"), _pop_value(rest, "--adapter")
    if len(rest) > 1 or any(word.startswith("--") for word in rest) or kv not in (None, *KV):
        return None
    return LoadArguments(rest[0] if rest else "", may_download, kv, "" if adapter == "none" else adapter, spill)


def _pop_value(words: list[str], flag: str) -> str | None:
    """Remove `flag` and its value from `words`. A flag without a value stays in place."""
    at = words.index(flag) if flag in words[:-1] else -1
    if at < 0 or words[at + 1].startswith("--"):
        return None
    value = words[at + 1]
    del words[at : at + 2]
    return value


def parse_reference(word: str) -> int | None:
    """The prompt number in `3`, `In[3]`, `Out[3]` or `Err[3]`; None for any other word."""
    match = _REFERENCE.fullmatch(word)
    is_balanced = match and ("[" in word) == word.endswith("]")
    return int(match[1]) if match and is_balanced else None
