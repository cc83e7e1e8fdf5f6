"""The arrays of a plotly specification: plain lists, numpy arrays, and the base64 form (`bdata`) that saved outputs hold."""

from __future__ import annotations

import array
import base64
import sys
from collections.abc import Mapping
from typing import Any

from ...measure import columns

_CODES = {"i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "i8": "q", "u8": "Q", "f4": "f", "f8": "d"}
_NAMES = {
    "int8": "i1",
    "uint8": "u1",
    "int16": "i2",
    "uint16": "u2",
    "int32": "i4",
    "uint32": "u4",
    "float32": "f4",
    "float64": "f8",
}
MAX_BYTES = 256 * 2**20


def values(held: Any) -> Any:
    """A list or array, one- or two-dimensional; None where `held` is none."""
    if isinstance(held, Mapping) and "bdata" in held:
        return _decoded(held)
    if isinstance(held, Mapping) and "_inputArray" in held:  # what old versions of plotly.js saved
        inner = held["_inputArray"]
        return [inner[k] for k in sorted((k for k in inner if str(k).isdigit()), key=int)]
    if isinstance(held, list | tuple | array.array) or (hasattr(held, "dtype") and hasattr(held, "reshape")):
        return held
    return held.to_numpy() if hasattr(held, "to_numpy") else None


def _decoded(held: Mapping[str, Any]) -> Any:
    code = str(held.get("dtype", "")).lstrip("<|=")
    kind = _CODES.get(_NAMES.get(code, code))
    data = held["bdata"]
    if kind is None or not isinstance(data, str) or len(data) > MAX_BYTES:
        raise ValueError("an array of an unknown type or size")
    raw = base64.b64decode(data, validate=True)
    flat = array.array(kind)
    if len(raw) % flat.itemsize:
        raise ValueError("an array that is cut off")
    flat.frombytes(raw)
    if sys.byteorder == "big":
        flat.byteswap()
    shape = _shape(held.get("shape"))
    np = columns.numpy()
    if np is not None:
        whole = np.frombuffer(flat, dtype=kind)
        return whole.reshape(shape) if len(shape) == 2 else whole
    if len(shape) == 2:
        return [list(flat[i * shape[1] : (i + 1) * shape[1]]) for i in range(shape[0])]
    return list(flat)


def _shape(held: Any) -> tuple[int, ...]:
    parts = (
        held.split(",") if isinstance(held, str) else held if isinstance(held, list | tuple) else [held] if held else []
    )
    return tuple(int(part) for part in parts)


def table(held: Any) -> tuple[Any, tuple[int, int]] | None:
    """Rows of numbers as one flat column and its shape; short rows are filled up."""
    found = values(held)
    if found is None or not columns.length(found):
        return None
    if hasattr(found, "dtype") and len(found.shape) == 2:
        return found, (int(found.shape[0]), int(found.shape[1]))
    rows = [r if r is not None else [] for r in (values(row) for row in found)]
    width = max((columns.length(r) for r in rows), default=0)
    if not width:
        return None
    flat: list[Any] = []
    for row in rows:
        own = row.tolist() if hasattr(row, "tolist") else list(row)
        flat += own + [None] * (width - len(own))
    return flat, (len(rows), width)
