"""Records the errors of this kernel by prompt number: the cell, a short traceback, and the failing function's variables."""

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

MAX_ERRORS = 100
MAX_MESSAGE = 2000
MAX_FRAMES = 12
LOCALS_BUDGET_S = 0.05

_NAME = re.compile(r"[^\W\d]\w*")
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True)
class CellError:
    """The error of one cell. variables: of the function that failed. names: that appear in the cell and the failing line."""

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
        """Store `error` as text, without frames, so that the user's objects are not kept alive.

        `cell_name(file)` is "" for a file that is not a cell.
        """
        if isinstance(error, MistralError | Stopped | KeyboardInterrupt) or type(error).__name__ == "UsageError":
            return
        frames = list(_frames(error.__traceback__, cell_name))
        cell_frames = [(frame, number) for frame, number in frames if cell_name(frame.f_code.co_filename)]
        innermost = cell_frames[-1][0] if cell_frames else None
        line = linecache.getline(innermost.f_code.co_filename, cell_frames[-1][1]) if innermost else ""
        is_function = innermost is not None and innermost.f_code.co_name != "<module>"
        local_variables = innermost.f_locals if innermost is not None and is_function else {}
        # those in the failing line come first
        names = [name for name in _NAME.findall(line) if name in local_variables]
        names += [name for name in local_variables if name not in names]
        self._errors[number] = CellError(
            number,
            type(error).__name__,
            _message(error),
            cell,
            mask(_format_traceback(error, frames, cell_name)),
            tuple(variables(local_variables, names, 12, LOCALS_BUDGET_S)),
            tuple(dict.fromkeys([*_NAME.findall(line), *names_of(cell)])),
        )
        self._errors.move_to_end(number)
        while len(self._errors) > MAX_ERRORS:
            self._errors.popitem(last=False)


def names_of(code: str) -> list[str]:
    """The names that `code` reads or sets; every word of it if it does not parse."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError):
        return list(dict.fromkeys(_NAME.findall(code)))
    return list(dict.fromkeys(node.id for node in ast.walk(tree) if isinstance(node, ast.Name)))


def _frames(tb: TracebackType | None, cell_name: Callable[[str], str]) -> Iterator[tuple[FrameType, int]]:
    """The frames from the cell on, without those of IPython that called it."""
    frames = list(traceback.walk_tb(tb))
    first = next((i for i, (frame, _) in enumerate(frames) if cell_name(frame.f_code.co_filename)), len(frames))
    yield from frames[first:]


def _format_traceback(
    error: BaseException, frames: list[tuple[FrameType, int]], cell_name: Callable[[str], str]
) -> str:
    lines: list[str] = []
    omitted = 0
    shown = _relevant_frames(frames, cell_name)
    for i, (frame, number) in enumerate(frames):
        if i not in shown:
            omitted += 1
            continue
        if omitted:
            lines.append(f"  … {omitted} library frames")
            omitted = 0
        code = frame.f_code
        file = cell_name(code.co_filename) or code.co_filename.replace("\\", "/").split("site-packages/")[-1]
        lines.append(f"  {file}, line {number}, in {code.co_name}")
        source = linecache.getline(code.co_filename, number).strip()
        if source:
            lines.append(f"    {source[:200]}")
    head = ["Traceback (most recent call last):"] if lines else []
    return "\n".join([*head, *lines, *_causes(error), _message(error)])


def _relevant_frames(frames: list[tuple[FrameType, int]], cell_name: Callable[[str], str]) -> set[int]:
    """Indexes of the user's frames, and of the first and last frame of each run of library frames."""
    is_cell = [bool(cell_name(frame.f_code.co_filename)) for frame, _ in frames]
    last = len(is_cell) - 1
    relevant = [i for i in range(len(is_cell)) if i == last or is_cell[i] or (i and is_cell[i - 1]) or is_cell[i + 1]]
    return {*relevant[: MAX_FRAMES // 2], *relevant[-MAX_FRAMES // 2 :]}


def _causes(error: BaseException) -> list[str]:
    lines: list[str] = []
    cause = _cause(error)
    while cause is not None and len(lines) < 3:
        lines.append(f"  caused by {_message(cause)}")
        cause = _cause(cause)
    return lines


def _cause(error: BaseException) -> BaseException | None:
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _message(error: BaseException) -> str:
    """Type and message as Python prints them, for a syntax error with the line and the caret."""
    text = "".join(traceback.TracebackException(type(error), error, None).format_exception_only()).rstrip()
    text = mask(_COLOURS.sub("", text))
    return text if len(text) <= MAX_MESSAGE else f"{text[: MAX_MESSAGE // 2]} … {text[-MAX_MESSAGE // 2 :]}"


def to_prompt(error: CellError, namespace: Mapping[str, Any]) -> str:
    """The error as part of a prompt: the cell, the traceback, and the variables that they mention."""
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
