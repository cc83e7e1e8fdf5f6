"""Shortens outputs and long text, and marks every cut: repeated lines, progress bars, tables, tracebacks."""

from __future__ import annotations

import re
from collections.abc import Callable

from . import html_tables
from .cells import Output

_PROGRESS = re.compile(
    r"\d+%\|.*\||\[[=#>.\-\s]{8,}\]|\d+/\d+ \[|━{4,}|█{3,}|\b\d{1,3}(?:\.\d+)?% (?:complete|done|ETA)"
)
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*(?:e[+-]?\d+)?")
_FRAME = re.compile(
    r"^(?:File |Cell In|Input In|<ipython-input|[~/.\w\\:-]*/\S+.* in |[~/.\w\\:-]+\.py:\d+|Traceback |Error in |Stacktrace)"
)
_OURS = re.compile(r"^(?:  )?(?:File )?\"?(?:Cell In|Input In|In\[|In \[|<ipython-input|.*ipykernel_\d+)")

# this many similar lines in a row are a log
LOG_LINES = 16

LineFilter = Callable[[str], bool]


def collapse(text: str, similar: bool) -> str:
    """Reduce progress bars to their last state and runs of equal lines to one; `similar`: also lines that differ only in numbers."""
    lines: list[str] = []
    run: list[str] = []
    shape: str | None = None
    for line in [*text.split("\n"), None]:
        line_shape = _shape(line, similar) if line is not None else None
        if run and (line_shape != shape or line is None):
            lines += _one_for(run, shape == "progress")
            run = []
        if line is not None:
            run.append(line)
            shape = line_shape
    return "\n".join(lines)


def _shape(line: str, similar: bool) -> str:
    if _PROGRESS.search(line[:400]):
        return "progress"
    line = line.rstrip()
    return "=" + (_NUMBER.sub("0", line) if similar else line)


def _one_for(run: list[str], progress: bool) -> list[str]:
    if progress:
        return run[-1:]
    if not run[0].strip():
        return run[:1]
    if len(run) < LOG_LINES:
        return run if len(set(run)) > 1 or len(run) < 3 else [run[0], f"… the same line {len(run)} times …"]
    if len(set(run)) == 1:
        return [run[0], f"… the same line {len(run)} times …"]
    return [*run[:4], f"… {len(run) - 8} similar lines …", *run[-4:]]


def cut(text: str, limit: int, is_wanted: LineFilter | None = None) -> str:
    """Keep the head, the tail and the wanted lines of a text of more than `limit` characters, and mark the gaps."""
    if len(text) <= limit:
        return text
    lines = [line if len(line) <= limit // 2 + 40 else _cut_line(line, limit // 2) for line in text.split("\n")]
    keep = _head_and_tail(lines, limit if is_wanted is None else limit * 6 // 10)
    if is_wanted is not None:
        left = limit * 4 // 10
        for i, line in enumerate(lines):
            if i not in keep and len(line) < left and is_wanted(line):
                keep.add(i)
                left -= len(line) + 1
    return "\n".join(_with_marks(lines, keep))


def _cut_line(line: str, limit: int) -> str:
    head = max(20, limit * 2 // 3)
    tail = max(10, limit - head)
    return f"{line[:head]} … {len(line) - head - tail} characters … {line[-tail:]}"


def _head_and_tail(lines: list[str], limit: int) -> set[int]:
    keep: set[int] = set()
    for order, share in ((range(len(lines)), limit * 2 // 3), (range(len(lines) - 1, -1, -1), limit // 3)):
        for i in order:
            share -= len(lines[i]) + 1
            if share < 0 and keep:
                break
            keep.add(i)
    return keep


def _with_marks(lines: list[str], keep: set[int]) -> list[str]:
    kept: list[str] = []
    gap = 0
    for i, line in enumerate(lines):
        if i in keep:
            if gap:
                kept.append(f"… {gap} lines …")
            gap = 0
            kept.append(line)
        else:
            gap += 1
    return kept if not gap else [*kept, f"… {gap} lines …"]


def traceback(text: str) -> str:
    """Keep the frames in the notebook, the last frame in a library, and the exception."""
    lines = [line for line in text.split("\n") if line.strip() and not re.fullmatch(r"[-─=]{10,}", line.strip())]
    frames: list[list[str]] = [[]]
    for line in lines:
        if _FRAME.match(line.strip()) and frames[-1]:
            frames.append([])
        frames[-1].append(line)
    if len(frames) < 3:
        return "\n".join(lines)
    keep = {0, len(frames) - 1, *(i for i, frame in enumerate(frames) if _OURS.match(frame[0]))}
    kept: list[str] = []
    for i, frame in enumerate(frames):
        if i in keep:
            kept += frame if i in (0, len(frames) - 1) else _near_arrow(frame)
        elif i - 1 in keep:
            kept.append("… library frames …")
    return "\n".join(kept)


def _near_arrow(frame: list[str]) -> list[str]:
    arrow = next((i for i, line in enumerate(frame) if line.lstrip().startswith(("-->", "->"))), len(frame) - 1)
    return [frame[0], *frame[max(1, arrow - 2) : arrow + 3]]


def output(out: Output, limit: int, similar: bool, is_wanted: LineFilter | None = None) -> str:
    """The text of an output, in about `limit` characters."""
    if out.kind == "image":
        size = f", {out.size // 1024} KiB" if out.size else ""
        label = f" {out.text}" if out.text and not out.text.startswith("<Figure") else ""
        return f"({out.mime}{size}){label[:200]}"
    text = out.text
    if out.html and (not text.strip() or ("<table" in out.html and _is_wrapped(text))):
        text = html_tables.of_html(out.html) or text
    text = "\n".join(line.rstrip() for line in text.strip("\n").split("\n"))
    text = traceback(text) if out.kind == "error" else collapse(text, similar and out.kind == "stream")
    return cut(text, limit, is_wanted).rstrip()


def _is_wrapped(text: str) -> bool:
    """Whether pandas printed a wide frame in blocks of columns, which end in a backslash."""
    return "\\\n" in text or text.startswith("<") or "IPython.core.display" in text
