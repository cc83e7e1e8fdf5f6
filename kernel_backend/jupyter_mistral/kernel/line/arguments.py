"""The grammar of `%mistral` and `%%mistral`: flags first, then a subcommand or a question. Knows no IPython shell."""

from __future__ import annotations

import difflib
import io
import json
import keyword
import re
import shlex
from collections.abc import Collection, Container, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from IPython.core.error import UsageError

from ...protocol.bodies import parse_sampling
from ...protocol.failures import Failure
from ...protocol.requests import SAMPLING_BOUNDS, SCOPES, Sampling, Scope
from ...protocol.status import KV
from ..reading import words_of

FORMATS = ("markdown", "text", "code", "json", "html", "math")
FORMAT_NAMES = {"md": "markdown"} | {name: name for name in FORMATS}


@dataclass(frozen=True)
class Options:
    """What the flags say. None: the magics' configuration decides."""

    format: str = ""
    out: str = ""
    sampling: dict[str, Any] = field(default_factory=dict)
    context: Scope | None = None
    thorough: bool = False
    use_history: bool = True
    system: str | None = None
    schema: str = ""
    model: str | None = None
    see: tuple[str, ...] = ()

    def to_sampling(self, defaults: dict[str, Any]) -> Sampling:
        return parse_sampling({**defaults, **self.sampling})


@dataclass(frozen=True)
class Command:
    """A subcommand, its words, and the flags around it."""

    name: str
    words: tuple[str, ...] = ()
    options: Options = field(default_factory=Options)


@dataclass(frozen=True)
class Question:
    """Free text, and the flags before it."""

    text: str
    options: Options = field(default_factory=Options)


# flag: (name it is known by, what stands after it)
FLAGS = {
    "-f": "--format",
    "--format": "--format",
    "-o": "--out",
    "--out": "--out",
    "-m": "--model-parameters",
    "--model-parameters": "--model-parameters",
    "--seed": "--seed",
    "--max-tokens": "--max-tokens",
    "--temperature": "--temperature",
    "--context": "--context",
    "--thorough": "--thorough",
    "--no-history": "--no-history",
    "--system": "--system",
    "--schema": "--schema",
    "--model": "--model",
    "--see": "--see",
}
SHOWN_FLAGS = "-f/--format, -o/--out, -m/--model-parameters, --seed, --max-tokens, --temperature, --context, --thorough, --no-history, --system, --schema, --model, --see"

_FLAG = re.compile(r"(--?[A-Za-z][\w-]*)(=|\s+|$)")
_REFERENCE = re.compile(r"(?:(?:In|Out|Err)\[)?(\d{1,6})\]?")
# what a name of a model looks like: a digit, dash, colon or slash is in it
_MODEL = re.compile(r"[\w.:@/~+-]*[\d/:-][\w.:@/~+-]*")
LAST_FIGURE = "the figure"
_LAST_FIGURE = re.compile(r"(?:(?:the|this|that|my) )?(?:last )?(?:plot|figure|chart|graph)[.?]?")
_ALIAS = re.compile(r"[A-Za-z][\w.-]*")
# no short names: `alias vs reference` is a question
_JOINS = {"vs", "vs.", "versus", "or", "and", "of", "in", "for", "as", "is", "with", "a", "an", "the"}


def parse_line(line: str, aliases: Collection[str] = (), figures: Container[str] = ()) -> Command | Question:
    """What `%mistral LINE` asks for; `figures` are names that `explain` takes. Raises `UsageError` on a bad flag."""
    stripped = line.strip()
    if stripped in ("-h", "--help", "--version"):
        return Command("version" if stripped == "--version" else "help")
    options, rest, ended = take_flags(stripped)
    if not rest and not ended:
        return Question("", options) if options.see else Command("help", (), options)
    command = None if ended else _command(rest, options, aliases, figures)
    return command or Question(rest, options)


def late_flag(text: str) -> str:
    """The flag that stands, with a value or alone, at the end of a question, where it is text; "" where none does."""
    for word in text.split()[1:][-2:]:
        if word in FLAGS:
            return word
    return ""


def parse_header(line: str, aliases: Collection[str] = ()) -> Question:
    """What stands behind `%%mistral`: flags, perhaps an alias, perhaps the question's first words. Raises `UsageError`."""
    options, rest, ended = take_flags(line.strip())
    word, _, after = rest.partition(" ")
    if not ended and word in aliases:  # as `%%ai ALIAS -f code` had it
        more, rest, _ = take_flags(after.strip(), options)
        options = replace(more, model=word)
    return Question(rest, options)


def take_flags(line: str, options: Options | None = None) -> tuple[Options, str, bool]:
    """Flags at the start of `line`, what is left, and whether `--` ended them. Raises `UsageError`."""
    options, rest = options or Options(), line
    while True:
        if rest == "--" or rest.startswith("-- "):
            return options, rest[2:].strip(), True
        match = _FLAG.match(rest)
        if not match:
            return options, rest, False
        name = FLAGS.get(match[1])
        if name is None:
            near = difflib.get_close_matches(match[1], FLAGS, 1)
            hint = f"Did you mean {near[0]}?" if near else f"There are: {SHOWN_FLAGS}."
            raise UsageError(f"%mistral has no flag {match[1]}. {hint} (Text that starts with a dash goes after --.)")
        rest = rest[match.end() :]
        if name in ("--no-history", "--thorough"):
            is_bare = name == "--no-history"
            options = replace(options, use_history=False) if is_bare else replace(options, thorough=True)
            continue
        value, rest = _value(name, rest)
        options = _set(options, name, value)


def _value(name: str, rest: str) -> tuple[str, str]:
    """The value at the start of `rest`: quoted, a JSON object in balanced braces, or up to the next space."""
    if rest[:1] in ("'", '"'):
        stream = io.StringIO(rest)
        lexer = shlex.shlex(stream, posix=True)
        lexer.whitespace_split, lexer.commenters = True, ""
        try:
            value = lexer.get_token() or ""
        except ValueError:
            raise UsageError(f"{name}: the quote is not closed.") from None
        return value, stream.read().strip()
    if rest.startswith("{"):
        try:
            _, end = json.JSONDecoder().raw_decode(rest)
            return rest[:end], rest[end:].strip()
        except ValueError:
            pass  # the error is told where the value is used
    value, _, rest = rest.partition(" ")
    if not value:
        raise UsageError(f"{name} needs a value.")
    return value, rest.strip()


def _set(options: Options, name: str, value: str) -> Options:
    if name == "--format":
        return replace(options, format=_choice(name, value, FORMAT_NAMES))
    if name == "--context":
        return replace(options, context=_choice(name, value, {scope: scope for scope in SCOPES}))
    if name == "--out":
        return replace(options, out=_variable_name(value))
    if name == "--model-parameters":
        return replace(options, sampling={**options.sampling, **_parameters(value)})
    if name in ("--seed", "--max-tokens", "--temperature"):
        return replace(options, sampling={**options.sampling, **_number(name, value)})
    if name == "--model":
        return replace(options, model=value)
    if name == "--see":
        return replace(options, see=(*options.see, value))
    return replace(options, schema=value) if name == "--schema" else replace(options, system=value)


def _choice(name: str, value: str, among: dict[str, Any]) -> Any:
    if value.lower() not in among:
        raise UsageError(f"{name} is {value!r}, but must be one of {', '.join(among)}.")
    return among[value.lower()]


def _variable_name(value: str) -> str:
    if not value.isidentifier() or keyword.iskeyword(value):
        raise UsageError(f"--out {value!r} cannot be the name of a variable. Take a name such as draft.")
    return value


def _number(flag: str, value: str) -> dict[str, Any]:
    name = flag.removeprefix("--").replace("-", "_")
    try:
        number: float = int(value) if SAMPLING_BOUNDS[name][0] is int else float(value)
    except ValueError:
        raise UsageError(f"{flag} is {value!r}, but must be a number.") from None
    return _checked({name: number}, flag)


def _parameters(value: str) -> dict[str, Any]:
    try:
        given = json.loads(value)
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise UsageError(f"-m is not a JSON object: {value[:80]}. Write it as -m '{{\"temperature\": 0.2}}'.")
    known = [*SAMPLING_BOUNDS, "stop"]
    for name in given:
        if name not in known:
            raise UsageError(f"-m: there is no parameter {name!r}. There are: {', '.join(known)}.")
    return _checked(given)


def _checked(given: dict[str, Any], flag: str = "") -> dict[str, Any]:
    try:
        parse_sampling(given)
    except Failure as failure:
        said = str(failure)
        raise UsageError(said.replace(next(iter(given)), flag, 1) if flag else said) from None
    return given


# ------------------------------------------------------------------------------------------ subcommands


def _command(rest: str, options: Options, aliases: Collection[str], figures: Container[str] = ()) -> Command | None:
    """The subcommand that `rest` is by that subcommand's own grammar; None for a question that merely starts with such a word."""
    name, *words = rest.split()
    if name not in COMMANDS:
        return None
    if name == "read":
        found = words_of(rest)
        return None if found is None else Command(name, found, options)
    if name in ("fix", "explain", "error"):  # flags may follow: `%mistral fix 3 --seed 1`
        at = next((i for i, word in enumerate(words) if word in FLAGS), len(words))
        words, tail = words[:at], rest.split(None, at + 1)[at + 1 :]
        if name == "explain" and len(words) == 1 and words[0] in figures:
            pass
        elif name == "explain" and _LAST_FIGURE.fullmatch(" ".join(words).lower()):
            words = [LAST_FIGURE]
        elif not _fits(name, words, aliases):
            _refuse_flag(name, words, aliases)
            return None
        options, left, _ = take_flags(tail[0], options) if tail else (options, "", False)
        return None if left else Command(name, tuple(words), options)
    if _fits(name, words, aliases):
        return Command(name, tuple(words), options)
    _refuse_flag(name, words, aliases)
    _refuse_alias(name, words, aliases)
    return None


def _refuse_alias(name: str, words: list[str], aliases: Collection[str]) -> None:
    """Raise `UsageError` for a short name of what is no model: no model is asked about that."""
    if name not in ("alias", "register", "update") or len(words) != 2 or words[1].endswith("?"):
        return
    if name == "update" and words[0] not in aliases:
        return
    if _ALIAS.fullmatch(words[0]) and words[0].lower() not in _JOINS:
        raise UsageError(
            f"{words[1]} is neither a model's name (`%mistral list` shows them) nor an alias. "
            "(To ask it as a question: %mistral -- …)"
        )


def _refuse_flag(name: str, words: list[str], aliases: Collection[str]) -> None:
    """Raise `UsageError` for a line that is the command up to a flag that is wrong: no model is asked about that."""
    at = next((i for i, word in enumerate(words) if re.match(r"--[a-z]", word)), None)
    takes = TAKES.get(name, ())
    is_whole = at is not None and _fits(name, words[:at], aliases) and (takes or len(words) == at + 1)
    if not is_whole or words[-1].endswith("?"):
        return
    if name == "load" and "--kv" in words[:-1] and (kind := words[words.index("--kv") + 1]) not in KV:
        raise UsageError(f"--kv is {kind!r}, but must be one of {', '.join(KV)}.")
    for word in words[at:]:
        if word.startswith("--") and word not in takes:
            near = difflib.get_close_matches(word, takes, 1)
            there = f"There are: {', '.join(takes)}." if takes else "It takes none."
            hint = f"Did you mean {near[0]}?" if near else there
            raise UsageError(f"%mistral {name} has no flag {word}. {hint} (To ask it as a question: %mistral -- …)")


def _fits(name: str, words: list[str], aliases: Collection[str]) -> bool:
    if name in ("fix", "explain", "error"):
        return not words or (len(words) == 1 and reference(words[0]) is not None)
    if name == "load":
        return load_words(words) is not None and not any(word.endswith("?") for word in words)
    if name == "alt":
        files = [word for word in words if word.endswith(".ipynb")]
        return len(files) <= 1 and set(words) - set(files) <= {"--apply", "--overwrite"}
    if name == "list":
        return not words or words in (["all"], ["local"])
    if name in ("alias", "register", "update"):
        if not words:
            return name != "update"  # lists them
        if len(words) != 2 or not _ALIAS.fullmatch(words[0]):
            return False
        return bool(_MODEL.fullmatch(words[1])) or words[1] in aliases
    if name == "help":
        return len(words) <= 1 and set(words) <= set(COMMANDS)
    if name in ("dealias", "delete"):
        return len(words) == 1 and not words[0].endswith("?")
    return not words


def load_words(words: Sequence[str]) -> tuple[str, bool, str | None, str | None, bool | None] | None:
    """Name, whether it may be downloaded, kind of KV, adapter and spill of `load NAME --no-download --kv int8 --adapter sql --spill`
    (or `--no-spill`; neither: as it is); None for anything else. The adapter `none` is ""."""
    left, may_download, kv, adapter, spill = list(words), True, None, None, None
    for word in ("--spill", "--no-spill"):
        if word in left:
            left.remove(word)
            spill = word == "--spill"
    if "--no-download" in left:
        left.remove("--no-download")
        may_download = False
    if "--kv" in left:
        at = left.index("--kv")
        if left[at + 1 : at + 2] == [] or left[at + 1] not in KV:
            return None
        kv = left[at + 1]
        del left[at : at + 2]
    if "--adapter" in left[:-1]:
        at = left.index("--adapter")
        adapter = "" if left[at + 1] == "none" else left[at + 1]
        del left[at : at + 2]
    if len(left) > 1 or any(word.startswith("--") for word in left):
        return None
    return left[0] if left else "", may_download, kv, adapter, spill


COMMANDS = (
    *("help", "version", "status", "load", "unload", "list", "reset", "error", "fix", "explain"),
    *("park", "alias", "register", "dealias", "delete", "update", "history", "chat", "read", "alt"),
)


# the flags that stand behind a command
TAKES = {
    "load": ("--no-download", "--kv", "--adapter", "--spill", "--no-spill"),
    "alt": ("--apply", "--overwrite"),
    **dict.fromkeys(("fix", "explain", "error"), tuple(flag for flag in FLAGS if flag.startswith("--"))),
}


def reference(word: str) -> int | None:
    """The prompt number of `3`, `In[3]`, `Out[3]` or `Err[3]`; None for another word."""
    match = _REFERENCE.fullmatch(word)
    whole = match and ("[" in word) == word.endswith("]")
    return int(match[1]) if match and whole else None
