"""The flags of `%mistral` and `%%mistral`: their names, their values, and the options they add up to."""

from __future__ import annotations

import difflib
import io
import json
import keyword
import re
import shlex
from dataclasses import dataclass, field, replace
from typing import Any

from IPython.core.error import UsageError

from ...protocol.bodies import SAMPLING_BOUNDS
from ...protocol.failures import Failure
from ...protocol.parsing import parse_sampling
from ...protocol.requests import SCOPES, Sampling, Scope

FORMATS = ("markdown", "text", "code", "json", "html", "math")
FORMAT_NAMES = {"md": "markdown"} | {name: name for name in FORMATS}

# flag as typed: its long name
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
LONG_FLAGS = tuple(flag for flag in FLAGS if flag.startswith("--"))
_FLAG_LIST = (
    "-f/--format, -o/--out, -m/--model-parameters, --seed, --max-tokens, --temperature, --context, --thorough, "
    "--no-history, --system, --schema, --model, --see"
)
_FLAG = re.compile(r"(--?[A-Za-z][\w-]*)(=|\s+|$)")


@dataclass(frozen=True)
class Options:
    """The parsed flags. None: the configuration of the magics decides."""

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


def take_flags(line: str, options: Options | None = None) -> tuple[Options, str, bool]:
    """Parse the flags at the start of `line`. Return them, the rest of the line, and whether `--` ended them.

    Raises `UsageError`.
    """
    options, rest = options or Options(), line
    while True:
        if rest == "--" or rest.startswith("-- "):
            return options, rest[2:].strip(), True
        match = _FLAG.match(rest)
        if not match:
            return options, rest, False
        name, rest = _flag_name(match[1]), rest[match.end() :]
        if name == "--no-history":
            options = replace(options, use_history=False)
        elif name == "--thorough":
            options = replace(options, thorough=True)
        else:
            value, rest = _take_value(name, rest)
            options = _with_value(options, name, value)


def _flag_name(flag: str) -> str:
    if flag in FLAGS:
        return FLAGS[flag]
    similar = difflib.get_close_matches(flag, FLAGS, 1)
    hint = f"Did you mean {similar[0]}?" if similar else f"Available flags: {_FLAG_LIST}."
    raise UsageError(f"%mistral has no flag {flag}. {hint} (Put text that starts with a dash after --.)")


def _take_value(name: str, rest: str) -> tuple[str, str]:
    """Split the value off `rest`: a quoted string, a JSON object in balanced braces, or the text up to the next space."""
    if rest[:1] in ("'", '"'):
        return _take_quoted(name, rest)
    if rest.startswith("{"):
        try:
            _, end = json.JSONDecoder().raw_decode(rest)
            return rest[:end], rest[end:].strip()
        except ValueError:
            pass  # the code that uses the value reports the error
    value, _, rest = rest.partition(" ")
    if not value:
        raise UsageError(f"{name} needs a value.")
    return value, rest.strip()


def _take_quoted(name: str, rest: str) -> tuple[str, str]:
    stream = io.StringIO(rest)
    lexer = shlex.shlex(stream, posix=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        value = lexer.get_token() or ""
    except ValueError:
        raise UsageError(f"{name}: the closing quote is missing.") from None
    return value, stream.read().strip()


def _with_value(options: Options, name: str, value: str) -> Options:
    if name == "--format":
        return replace(options, format=_choose(name, value, FORMAT_NAMES))
    if name == "--context":
        return replace(options, context=_choose(name, value, {scope: scope for scope in SCOPES}))
    if name == "--out":
        return replace(options, out=_check_variable_name(value))
    if name == "--model-parameters":
        return replace(options, sampling={**options.sampling, **_parse_parameters(value)})
    if name in ("--seed", "--max-tokens", "--temperature"):
        return replace(options, sampling={**options.sampling, **_parse_number(name, value)})
    if name == "--model":
        return replace(options, model=value)
    if name == "--see":
        return replace(options, see=(*options.see, value))
    return replace(options, schema=value) if name == "--schema" else replace(options, system=value)


def _choose(name: str, value: str, choices: dict[str, Any]) -> Any:
    if value.lower() not in choices:
        raise UsageError(f"{name} is {value!r}, but must be one of {', '.join(choices)}.")
    return choices[value.lower()]


def _check_variable_name(value: str) -> str:
    if not value.isidentifier() or keyword.iskeyword(value):
        raise UsageError(f"--out {value!r} is not a valid variable name. Use a name such as draft.")
    return value


def _parse_number(flag: str, value: str) -> dict[str, Any]:
    name = flag.removeprefix("--").replace("-", "_")
    try:
        number: float = int(value) if SAMPLING_BOUNDS[name][0] is int else float(value)
    except ValueError:
        raise UsageError(f"{flag} is {value!r}, but must be a number.") from None
    return _check_sampling({name: number}, flag)


def _parse_parameters(value: str) -> dict[str, Any]:
    try:
        parameters = json.loads(value)
    except ValueError:
        parameters = None
    if not isinstance(parameters, dict):
        raise UsageError(f"-m is not a JSON object: {value[:80]}. Write it as -m '{{\"temperature\": 0.2}}'.")
    known = [*SAMPLING_BOUNDS, "stop"]
    for name in parameters:
        if name not in known:
            raise UsageError(f"-m: unknown parameter {name!r}. Known parameters: {', '.join(known)}.")
    return _check_sampling(parameters)


def _check_sampling(parameters: dict[str, Any], flag: str = "") -> dict[str, Any]:
    try:
        parse_sampling(parameters)
    except Failure as failure:
        message = str(failure)
        raise UsageError(message.replace(next(iter(parameters)), flag, 1) if flag else message) from None
    return parameters
