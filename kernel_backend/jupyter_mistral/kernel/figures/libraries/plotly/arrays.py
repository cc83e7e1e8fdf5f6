"""Reads the arrays of a plotly specification: lists, NumPy arrays, and the base64 form (`bdata`) of saved outputs."""

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


def read_array(data: Any) -> Any:
    """Return a list or array of one or two dimensions; None if `data` is neither."""
    if isinstance(data, Mapping) and "bdata" in data:
        return _decode(data)
    if isinstance(data, Mapping) and "_inputArray" in data:  # saved by old versions of plotly.js
        inner = data["_inputArray"]
        return [inner[k] for k in sorted((k for k in inner if str(k).isdigit()), key=int)]
    if isinstance(data, list | tuple | array.array) or (hasattr(data, "dtype") and hasattr(data, "reshape")):
        return data
    return data.to_numpy() if hasattr(data, "to_numpy") else None


def _decode(data: Mapping[str, Any]) -> Any:
    code = str(data.get("dtype", "")).lstrip("<|=")
    kind = _CODES.get(_NAMES.get(code, code))
    text = data["bdata"]
    if kind is None or not isinstance(text, str) or len(text) > MAX_BYTES:
        raise ValueError("an array of an unknown type or size")
    raw = base64.b64decode(text, validate=True)
    flat = array.array(kind)
    if len(raw) % flat.itemsize:
        raise ValueError("an array that is cut off")
    flat.frombytes(raw)
    if sys.byteorder == "big":
        flat.byteswap()
    shape = _read_shape(data.get("shape"))
    np = columns.numpy()
    if np is not None:
        column = np.frombuffer(flat, dtype=kind)
        return column.reshape(shape) if len(shape) == 2 else column
    if len(shape) == 2:
        return [list(flat[i * shape[1] : (i + 1) * shape[1]]) for i in range(shape[0])]
    return list(flat)


def _read_shape(data: Any) -> tuple[int, ...]:
    parts = (
        data.split(",") if isinstance(data, str) else data if isinstance(data, list | tuple) else [data] if data else []
    )
    return tuple(int(part) for part in parts)


def read_table(data: Any) -> tuple[Any, tuple[int, int]] | None:
    """Return rows of numbers as one flat column and its shape; short rows are filled with None."""
    rows = read_array(data)
    if rows is None or not columns.length(rows):
        return None
    if hasattr(rows, "dtype") and len(rows.shape) == 2:
        return rows, (int(rows.shape[0]), int(rows.shape[1]))
    arrays = [r if r is not None else [] for r in map(read_array, rows)]
    width = max((columns.length(r) for r in arrays), default=0)
    if not width:
        return None
    flat: list[Any] = []
    for row in arrays:
        numbers = row.tolist() if hasattr(row, "tolist") else list(row)
        flat += numbers + [None] * (width - len(numbers))
    return flat, (len(arrays), width)
