"""The errors of this kernel by prompt number: the cell, a short traceback without colours, the variables of the failing function."""

from __future__ import annotations

import ast
import linecache
import re
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any

from ..errors import MistralError, Stopped
from .describe import variables
from .masking import mask

KEPT = 100
MAX_MESSAGE = 2000
MAX_FRAMES = 12
LOCALS_BUDGET_S = 0.05

_NAME = re.compile(r"[^\W\d]\w*")
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True)
class CellError:
    """What failed in one cell. variables: of the function that failed; names: what the cell and the failing line speak of."""

    number: int
    name: str
    message: str
    cell: str
    traceback: str
    variables: tuple[dict[str, str], ...] = ()
    names: tuple[str, ...] = ()


class Errors(Mapping[int, str]):
    """`Err[3]`: the traceback of the error in prompt 3."""

    def __init__(self) -> None:
        self._errors: OrderedDict[int, CellError] = OrderedDict()

    def __getitem__(self, number: int) -> str:
        return self._errors[number].traceback

    def __iter__(self) -> Iterator[int]:
        return iter(self._errors)

    def __len__(self) -> int:
        return len(self._errors)

    def __repr__(self) -> str:
        return f"<errors of prompts {', '.join(map(str, self._errors)) or '(none)'}>"

    @property
    def last(self) -> CellError | None:
        return next(reversed(self._errors.values()), None)

    def find(self, number: int) -> CellError | None:
        return self._errors.get(number)

    def record(self, number: int, cell: str, error: BaseException, cell_name: Callable[[str], str]) -> None:
        """Keep `error` as text: no frame, and so no variable of the user, is held. `cell_name(file)` is "" outside of cells."""
        if isinstance(error, MistralError | Stopped | KeyboardInterrupt) or type(error).__name__ == "UsageError":
            return
        frames = list(_frames(error.__traceback__, cell_name))
        own = [(frame, line) for frame, line in frames if cell_name(frame.f_code.co_filename)]
        inner = own[-1][0] if own else None
        line = linecache.getline(inner.f_code.co_filename, own[-1][1]) if inner else ""
        local = inner.f_locals if inner is not None and inner.f_code.co_name != "<module>" else {}
        named = [name for name in _NAME.findall(line) if name in local]
        named += [name for name in local if name not in named]
        self._errors[number] = CellError(
            number,
            type(error).__name__,
            _message(error),
            cell,
            mask(_short(error, frames, cell_name)),
            tuple(variables(local, named, 12, LOCALS_BUDGET_S)),
            tuple(dict.fromkeys([*_NAME.findall(line), *names_of(cell)])),
        )
        self._errors.move_to_end(number)
        while len(self._errors) > KEPT:
            self._errors.popitem(last=False)


def names_of(code: str) -> list[str]:
    """The names that `code` reads or sets; any word of it where it does not parse."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError):
        return list(dict.fromkeys(_NAME.findall(code)))
    return list(dict.fromkeys(node.id for node in ast.walk(tree) if isinstance(node, ast.Name)))


def _frames(tb: TracebackType | None, cell_name: Callable[[str], str]) -> Iterator[tuple[FrameType, int]]:
    """Frames from the cell on: IPython's own are above it."""
    walked = list(traceback.walk_tb(tb))
    first = next((i for i, (frame, _) in enumerate(walked) if cell_name(frame.f_code.co_filename)), len(walked))
    yield from walked[first:]


def _short(error: BaseException, frames: list[tuple[FrameType, int]], cell_name: Callable[[str], str]) -> str:
    lines: list[str] = []
    skipped = 0
    kept = _worth_showing(frames, cell_name)
    for i, (frame, number) in enumerate(frames):
        if i not in kept:
            skipped += 1
            continue
        if skipped:
            lines.append(f"  … {skipped} frames of libraries")
            skipped = 0
        code = frame.f_code
        where = cell_name(code.co_filename) or code.co_filename.replace("\\", "/").split("site-packages/")[-1]
        lines.append(f"  {where}, line {number}, in {code.co_name}")
        source = linecache.getline(code.co_filename, number).strip()
        if source:
            lines.append(f"    {source[:200]}")
    head = ["Traceback (most recent call last):"] if lines else []
    return "\n".join([*head, *lines, *_causes(error), _message(error)])


def _worth_showing(frames: list[tuple[FrameType, int]], cell_name: Callable[[str], str]) -> set[int]:
    """The user's own frames, and of each run of library frames the first and the last."""
    own = [bool(cell_name(frame.f_code.co_filename)) for frame, _ in frames]
    edges = [
        i
        for i, mine in enumerate(own)
        if mine or (i and own[i - 1]) or i + 1 == len(own) or (i + 1 < len(own) and own[i + 1])
    ]
    return {*edges[: MAX_FRAMES // 2], *edges[-MAX_FRAMES // 2 :]}


def _causes(error: BaseException) -> list[str]:
    lines: list[str] = []
    seen = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    while seen is not None and len(lines) < 3:
        lines.append(f"  caused by {_message(seen)}")
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return lines


def _message(error: BaseException) -> str:
    """Type and message as Python shows them; for a syntax error with the line and the caret."""
    text = "".join(traceback.TracebackException(type(error), error, None).format_exception_only()).rstrip()
    text = mask(_COLOURS.sub("", text))
    return text if len(text) <= MAX_MESSAGE else f"{text[: MAX_MESSAGE // 2]} … {text[-MAX_MESSAGE // 2 :]}"


def to_prompt(error: CellError, namespace: Mapping[str, Any]) -> str:
    """The error as a model should read it: cell, traceback, and the variables that it speaks of."""
    parts = [
        f"Cell In[{error.number}]:\n```python\n{mask(error.cell.strip())}\n```",
        f"It failed:\n```\n{error.traceback}\n```",
    ]
    known = {v["name"]: v for v in variables(namespace, [n for n in error.names if n in namespace], 12)}
    known |= {v["name"]: v for v in error.variables}
    if known:
        rows = [f"- {v['name']}: {v['type']}" + (f" = {v['summary']}" if v["summary"] else "") for v in known.values()]
        parts.append("Variables:\n" + "\n".join(rows))
    return "\n\n".join(parts)
