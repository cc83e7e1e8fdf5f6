"""Describes data frames and arrays of pandas, polars, numpy, torch and xarray in a few lines. Imports none of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .masking import HIDDEN, is_secret_column

MAX_COLUMNS = 40
MAX_CELL = 40  # characters
ROWS = 3
MAX_ROW = 12  # cells shown per row
MAX_SAMPLE = 200_000  # rows for null shares and ranges; of a longer table, every n-th row
MAX_ELEMENTS = 10_000_000  # of an array whose minimum and maximum are computed


def summarize(value: Any) -> str:
    """Summarize a data frame or array; "" for anything else."""
    for base in type(value).__mro__:
        describe = _DESCRIBERS.get(((base.__module__ or "").split(".")[0], base.__name__))
        if describe:
            return describe(value)
    return ""


def _pandas_frame(frame: Any) -> str:
    rows, columns = frame.shape
    sample = frame.iloc[:: _sample_step(rows)]  # a view, not a copy
    lines = [f"{rows:,} rows × {columns:,} columns{_sample_note(rows)}, index {_pandas_index(frame.index)}"]
    for i in range(min(columns, MAX_COLUMNS)):
        name = _format_cell(frame.columns[i])
        facts = HIDDEN if is_secret_column(name) else _pandas_column(sample.iloc[:, i])
        lines.append(f"- {name} ({frame.dtypes.iloc[i]}): {facts}")
    if columns > MAX_COLUMNS:
        lines.append(f"- … {columns - MAX_COLUMNS:,} more columns")
    return "\n".join([*lines, *_rows(frame.columns, frame.head(ROWS).itertuples(index=False, name=None))])


def _sample_step(rows: int) -> int:
    return max(1, -(-rows // MAX_SAMPLE))


def _sample_note(rows: int) -> str:
    return f" (null shares and ranges from every {_sample_step(rows)}th row)" if _sample_step(rows) > 1 else ""


def _pandas_index(index: Any) -> str:
    if not len(index):
        return "empty"
    return f"{type(index).__name__} {_format_cell(index[0])} … {_format_cell(index[-1])}"


def _pandas_column(column: Any) -> str:
    nulls = int(column.isna().sum())
    facts = [f"{nulls / len(column):.0%} null"] if nulls and len(column) else []
    kind = column.dtype.kind if hasattr(column.dtype, "kind") else "O"
    if kind in "iufM" and nulls < len(column):
        facts.append(f"{_format_cell(column.min())} … {_format_cell(column.max())}")
    elif nulls < len(column):
        # not unique(), which fails for unhashable cells such as lists and dicts
        values = list(dict.fromkeys(_format_cell(v) for v in column.dropna().head(50)))
        facts.append(", ".join(values[:4]) + (", …" if len(values) > 4 else ""))
    return "; ".join(facts) or "all null" if len(column) else "empty"


def _pandas_series(series: Any) -> str:
    sample = series.iloc[:: _sample_step(len(series))]
    name = f"{_format_cell(series.name)}, " if series.name is not None else ""
    head = ", ".join(_format_cell(v) for v in series.head(5))
    return (
        f"{name}{len(series):,} values of {series.dtype}{_sample_note(len(series))}; index {_pandas_index(series.index)}; "
        f"{_pandas_column(sample)}; first: {head}"
    )


def _pandas_index_value(index: Any) -> str:
    return f"{len(index):,} entries of {index.dtype}: {_pandas_index(index)}"


def _polars_frame(frame: Any) -> str:
    rows, columns = frame.height, frame.width
    sample = frame.gather_every(_sample_step(rows))
    lines = [f"{rows:,} rows × {columns:,} columns (polars){_sample_note(rows)}"]
    for column in sample.iter_columns():
        if len(lines) > MAX_COLUMNS:
            lines.append(f"- … {columns - MAX_COLUMNS:,} more columns")
            break
        facts = HIDDEN if is_secret_column(column.name) else _polars_column(column)
        lines.append(f"- {_format_cell(column.name)} ({column.dtype}): {facts}")
    return "\n".join([*lines, *_rows(frame.columns, frame.head(ROWS).iter_rows())])


def _polars_column(column: Any) -> str:
    nulls = column.null_count()
    facts = [f"{nulls / len(column):.0%} null"] if nulls and len(column) else []
    if nulls < len(column):
        if column.dtype.is_numeric() or column.dtype.is_temporal():
            facts.append(f"{_format_cell(column.min())} … {_format_cell(column.max())}")
        else:
            facts.append(", ".join(dict.fromkeys(_format_cell(v) for v in column.drop_nulls().head(4).to_list())))
    return "; ".join(facts) or "empty"


def _polars_series(series: Any) -> str:
    head = ", ".join(_format_cell(v) for v in series.head(5).to_list())
    return f"{_format_cell(series.name)}, {len(series):,} values of {series.dtype}; {_polars_column(series)}; first: {head}"


def _polars_lazy(frame: Any) -> str:
    schema = frame.collect_schema()
    return "lazy (polars): " + ", ".join(f"{n} ({t})" for n, t in list(schema.items())[:MAX_COLUMNS])


def _numpy_array(array: Any) -> str:
    facts = [f"shape {tuple(array.shape)}, {array.dtype}"]
    if array.size and array.dtype.kind in "iuf" and array.size <= MAX_ELEMENTS:
        facts.append(f"{_format_cell(array.min())} … {_format_cell(array.max())}, mean {float(array.mean()):.4g}")
    if array.size and array.dtype.kind in "biufSUM":
        facts.append("first: " + ", ".join(_format_cell(v) for v in array.flat[:5]))
    return "; ".join(facts)


def _numpy_scalar(value: Any) -> str:
    return f"{_format_cell(value)} ({value.dtype})"


def _torch_tensor(tensor: Any) -> str:
    facts = [f"shape {tuple(tensor.shape)}, {str(tensor.dtype).removeprefix('torch.')} on {tensor.device}"]
    if tensor.requires_grad:
        facts.append("requires grad")
    # reading a value from another device would synchronize its queue
    if (
        str(tensor.device) == "cpu"
        and 0 < tensor.numel() <= MAX_ELEMENTS
        and tensor.layout.__repr__() == "torch.strided"
    ):
        flat = tensor.detach().reshape(-1)
        facts.append("first: " + ", ".join(_format_cell(v) for v in flat[:5].tolist()))
        if tensor.is_floating_point() or not tensor.is_complex():
            facts.append(f"{_format_cell(flat.min().item())} … {_format_cell(flat.max().item())}")
    return "; ".join(facts)


def _torch_module(module: Any) -> str:
    count = sum(p.numel() for p in module.parameters())
    children = ", ".join(f"{n}: {type(m).__name__}" for n, m in list(module.named_children())[:10])
    return f"{count:,} parameters" + (f"; {children}" if children else "")


def _xarray_array(array: Any) -> str:
    sizes = ", ".join(f"{n} {s}" for n, s in array.sizes.items())
    return f"({sizes}), {array.dtype}; coordinates: {', '.join(map(str, array.coords)) or 'none'}"


def _xarray_dataset(data: Any) -> str:
    sizes = ", ".join(f"{n} {s}" for n, s in data.sizes.items())
    arrays = ", ".join(f"{n} {v.dims} {v.dtype}" for n, v in list(data.data_vars.items())[:MAX_COLUMNS])
    return f"({sizes}); variables: {arrays}; coordinates: {', '.join(map(str, data.coords)) or 'none'}"


def _rows(names: Iterable[Any], rows: Iterable[tuple[Any, ...]]) -> list[str]:
    is_hidden = [is_secret_column(_format_cell(name)) for name in list(names)[:MAX_ROW]]
    lines = [
        " | ".join(HIDDEN if hide else _format_cell(cell) for cell, hide in zip(row, is_hidden, strict=False))
        for row in rows
    ]
    return ["first rows:", *lines] if lines else []


def _format_cell(value: Any) -> str:
    """Format one value. Only the types of Python, numpy and pandas are shown, so that no user's `__repr__` is called."""
    module = type(value).__module__.split(".")[0]
    if isinstance(value, float):
        text = f"{value:.6g}"
    elif module in ("builtins", "numpy", "datetime", "decimal", "uuid", "pandas"):
        if module == "builtins" and isinstance(value, list | tuple | dict | set | frozenset):
            return f"{type(value).__name__} of {len(value)}"
        text = str(value)
    else:
        text = type(value).__name__
    text = " ".join(text[: 4 * MAX_CELL].split())
    return text if len(text) <= MAX_CELL else text[: MAX_CELL - 1] + "…"


_DESCRIBERS: dict[tuple[str, str], Callable[[Any], str]] = {
    ("pandas", "DataFrame"): _pandas_frame,
    ("pandas", "Series"): _pandas_series,
    ("pandas", "Index"): _pandas_index_value,
    ("polars", "DataFrame"): _polars_frame,
    ("polars", "Series"): _polars_series,
    ("polars", "LazyFrame"): _polars_lazy,
    ("numpy", "ndarray"): _numpy_array,
    ("numpy", "generic"): _numpy_scalar,
    ("torch", "Tensor"): _torch_tensor,
    ("torch", "Module"): _torch_module,
    ("xarray", "DataArray"): _xarray_array,
    ("xarray", "Dataset"): _xarray_dataset,
}
