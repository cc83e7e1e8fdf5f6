"""Parses the arguments of `%mistral read`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from IPython.core.error import UsageError

OCR_MODES = ("auto", "on", "off")
_VALUE_FLAGS = {"--pages": "pages", "--ocr": "ocr", "--out": "out", "-o": "out"}
_USAGE = "Usage: %mistral read FILE [--pages 2-5] [--ocr auto|on|off] [--out NAME | --cell]"


@dataclass(frozen=True)
class ReadArguments:
    """The parsed arguments. The Markdown goes to the variable `out`, to a new cell, or else into the conversation."""

    file: str
    pages: str = ""
    ocr: str = "auto"
    out: str = ""
    to_cell: bool = False


def split_read_words(line: str) -> tuple[str, ...] | None:
    """Split a line that begins with `read` into words; None if the line is a question."""
    try:
        words = shlex.split(line)[1:]
    except ValueError:  # an apostrophe: prose
        return None
    if not words:
        return ()
    operands, at, has_flag = [], 0, False
    while at < len(words):
        if words[at].startswith("-") and len(words[at]) > 1:
            has_flag = True
            at += 2 if words[at].partition("=")[0] in _VALUE_FLAGS and "=" not in words[at] else 1
            continue
        operands.append(words[at])
        at += 1
    is_file = bool(operands) and any(c in operands[0] for c in "./\\~") and operands[0][-1] not in "?!"
    # any flag, even an unknown one, means that the command is intended: the parser then names the bad flag
    return tuple(words) if is_file and (len(operands) == 1 or (has_flag and len(operands) == 2)) else None


def parse_read_words(words: Sequence[str], out: str = "") -> ReadArguments:
    """Raises `UsageError`."""
    values: dict[str, Any] = {"out": out}
    rest = list(words)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if name == "--cell":
            values["to_cell"] = True
        elif name in _VALUE_FLAGS:
            if not equals and not rest:
                raise UsageError(f"{name} needs a value. {_USAGE}")
            values[_VALUE_FLAGS[name]] = value if equals else rest.pop(0)
        elif name.startswith("-") and len(name) > 1:
            raise UsageError(f"%mistral read has no flag {name}. {_USAGE}")
        else:
            values["file"] = name + equals + value
    if "file" not in values:
        raise UsageError(f"No file was named. {_USAGE}")
    return _check(ReadArguments(**values))


def _check(arguments: ReadArguments) -> ReadArguments:
    if arguments.ocr not in OCR_MODES:
        raise UsageError(f"--ocr is {arguments.ocr!r}, but must be one of {', '.join(OCR_MODES)}.")
    if arguments.out and not arguments.out.isidentifier():
        raise UsageError(f"--out {arguments.out!r} is not a valid variable name. Use a name such as paper.")
    if arguments.out and arguments.to_cell:
        raise UsageError("--out and --cell exclude each other. Use one of them.")
    return arguments
