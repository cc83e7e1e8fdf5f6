"""Describes the user's variables in a few lines each: bounded in size and time, with secrets hidden, without running user code.

Objects of libraries are recognized by their type's name; no library is imported here.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import fractions
import pathlib
import time
import types
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from . import frames
from .masking import HIDDEN, is_secret_name, mask

BUDGET_S = 0.3
MAX_SUMMARY = 1200
MAX_TEXT = 160
SAMPLE = 5
MAX_DEPTH = 2

# types whose repr is short and never runs user code
_PLAIN = (
    *(bool, int, float, complex, type(None), decimal.Decimal, fractions.Fraction, uuid.UUID, range, slice),
    *(datetime.date, datetime.datetime, datetime.time, datetime.timedelta, datetime.timezone),
    *(pathlib.PurePosixPath, pathlib.PureWindowsPath, pathlib.PosixPath, pathlib.WindowsPath),
)
_SKIPPED = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType, type)
_BRACKETS = {tuple: ("(", ")"), set: ("{", "}"), frozenset: ("{", "}")}
# IPython's own names in the user's namespace
_IPYTHON = {"In", "Out", "Err", "exit", "quit", "get_ipython", "open", "display"}


def variables(
    namespace: Mapping[str, Any],
    names: Collection[str] | None = None,
    limit: int = 30,
    budget_s: float = BUDGET_S,
    clock: Callable[[], float] = time.monotonic,
) -> list[dict[str, str]]:
    """Describe up to `limit` variables as `{"name", "type", "summary"}`: those in `names`, else all, the newest first.

    Modules, functions, classes, private names and IPython's own names are left out. After `budget_s`, summaries are empty.
    """
    deadline = clock() + budget_s
    descriptions = []
    for name, value in list(_select(namespace, names))[:limit]:
        summary = summarize(name, value) if clock() < deadline else ""
        descriptions.append({"name": name, "type": type_name(value), "summary": summary})
    return descriptions


def _select(namespace: Mapping[str, Any], names: Collection[str] | None) -> Iterator[tuple[str, Any]]:
    items = list(namespace.items())
    pairs = reversed(items) if names is None else ((n, namespace[n]) for n in names if n in namespace)
    for name, value in pairs:
        if name.startswith("_") or (name in _IPYTHON and names is None) or isinstance(value, _SKIPPED):
            continue
        yield name, value


def describe(name: str, value: Any, max_length: int = MAX_SUMMARY) -> str:
    """Describe a variable for a model: its type and a summary of `max_length` characters at most."""
    summary = summarize(name, value, max_length)
    return f"{name}: {type_name(value)}" + (f" = {summary}" if summary else "")


def summarize(name: str, value: Any, max_length: int = MAX_SUMMARY) -> str:
    """Summarize `value`; `‹hidden›` if the name suggests a secret. Never raises, whatever the value does."""
    if is_secret_name(name) and isinstance(value, str | bytes | Mapping | Sequence):
        return HIDDEN
    try:
        text = _own_summary(value) or _summary(value, 0)
    except Exception:  # the value's attributes raise: its type must suffice
        text = ""
    text = mask(text)
    return text if len(text) <= max_length else text[: max_length - 1] + "…"


def type_name(value: Any) -> str:
    kind = type(value)
    module = (getattr(kind, "__module__", "") or "").split(".")[0]
    name = getattr(kind, "__qualname__", "") or "object"
    return name if module in ("builtins", "__main__") or name == "DataFrame" else f"{module}.{name}"


def _own_summary(value: Any) -> str:
    """The summary that the class itself provides for models (`_repr_llm_`)."""
    repr_llm = getattr(type(value), "_repr_llm_", None)
    text = repr_llm(value) if callable(repr_llm) else ""
    return text if isinstance(text, str) else ""


def _summary(value: Any, depth: int) -> str:
    kind = type(value)
    if kind is int:
        return str(value) if value.bit_length() < 500 else f"an integer of {value.bit_length()} bits"
    if kind in _PLAIN:
        return repr(value)
    if isinstance(value, enum.Enum):
        return f"{kind.__name__}.{value.name}"
    if kind in (str, bytes, bytearray):
        return _text(value, depth)
    table = frames.summarize(value)
    if table:
        return table
    if kind is dict or (isinstance(value, dict) and kind.__module__ in ("collections", "builtins")):
        return _dict(value, depth)
    if kind in (list, tuple, set, frozenset) or kind.__module__ == "collections":
        return _items(value, depth)
    return _object(value, depth)


def _text(value: str | bytes | bytearray, depth: int) -> str:
    max_length = MAX_TEXT if depth == 0 else MAX_TEXT // 3
    if len(value) <= max_length:
        return repr(value)
    unit = "characters" if isinstance(value, str) else "bytes"
    return f"{value[:max_length]!r}… ({len(value):,} {unit})"


def _dict(value: Mapping[Any, Any], depth: int) -> str:
    if depth >= MAX_DEPTH:
        return f"{{… {len(value)} keys}}" if value else "{}"
    parts = []
    for key in list(value)[: 4 * SAMPLE if depth == 0 else SAMPLE]:
        item = value[key]
        summary = HIDDEN if isinstance(key, str) and is_secret_name(key) else _summary(item, depth + 1)
        parts.append(f"{_summary(key, depth + 1)}: {summary or type_name(item)}")
    more = f", … {len(value):,} keys" if len(value) > len(parts) else ""
    return "{" + ", ".join(parts) + more + "}"


def _items(value: Collection[Any], depth: int) -> str:
    opening, closing = _BRACKETS.get(type(value), ("[", "]"))
    if depth >= MAX_DEPTH:
        return f"{opening}… {len(value)} items{closing}"
    parts = []
    for i, item in enumerate(value):
        if i >= SAMPLE and len(value) > 2 * SAMPLE:
            break
        parts.append(_summary(item, depth + 1) or type_name(item))
    more = f", … {len(value):,} items" if len(value) > len(parts) else ""
    return opening + ", ".join(parts) + more + closing


def _object(value: Any, depth: int) -> str:
    """A plain object: the attributes in its `__dict__` and slots, without calling a property or `__repr__`."""
    if depth >= MAX_DEPTH:
        return type_name(value)
    attributes = _attributes(value)
    public = {k: v for k, v in attributes.items() if not k.startswith("_") and not isinstance(v, _SKIPPED)}
    if not public:
        return "" if depth == 0 else type_name(value)
    parts = [
        f"{k}={HIDDEN if is_secret_name(k) else _summary(v, depth + 1) or type_name(v)}"
        for k, v in list(public.items())[: 2 * SAMPLE]
    ]
    more = f", … {len(public)} attributes" if len(public) > len(parts) else ""
    return f"{type(value).__name__}({', '.join(parts)}{more})"


def _attributes(value: Any) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    slots = getattr(type(value), "__slots__", ())
    names: list[str] = [slots] if isinstance(slots, str) else list(slots)
    for slot in names:
        try:
            attributes[slot] = object.__getattribute__(value, slot)
        except AttributeError:
            continue
    try:
        return attributes | dict(object.__getattribute__(value, "__dict__"))
    except AttributeError:
        return attributes
