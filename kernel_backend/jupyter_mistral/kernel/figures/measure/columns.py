"""Statistics of the numbers of a series, with NumPy if the kernel has imported it, else in plain Python."""

from __future__ import annotations

import itertools
import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

NUMPY_POINTS = 4_000_000  # points of a whole figure that are measured exactly; the rest is sampled
PLAIN_POINTS = 200_000
SAMPLE = 50_000

# float64, one dimension; NaN for everything that is not a number
Column: TypeAlias = Any


@dataclass
class Allowance:
    """How many more points of this figure may be measured exactly. It bounds the time, equally on every machine."""

    left: int | None = None

    def take(self, n: int, columns: int = 1) -> int:
        """Return the step at which to read `n` rows of so many columns; 1 reads them all."""
        if self.left is None:
            self.left = NUMPY_POINTS if numpy() is not None else PLAIN_POINTS
        if n * columns <= max(self.left, 1000):
            self.left -= n * columns
            return 1
        return -(-n // SAMPLE)


def numpy() -> Any:
    """Return NumPy if the kernel has imported it, else None. Never imports it."""
    module = sys.modules.get("numpy")
    return module if hasattr(module, "asarray") else None


def length(values: Any) -> int:
    return int(values.size) if hasattr(values, "size") and hasattr(values, "dtype") else len(values)


def to_column(values: Any, step: int = 1) -> Column:
    """Return every `step`-th value as a float; None, masked values, text and objects become NaN."""
    np = numpy()
    if np is None:
        return [_float(v) for v in list(values)[::step]]
    if np.ma.isMaskedArray(values):
        flat = values.reshape(-1)[::step]
        return np.ma.filled(flat.astype(float), np.nan)
    array = np.asarray(values).reshape(-1)[::step]
    if array.dtype.kind in "biuf":
        return array.astype(float)
    return np.asarray([_float(v) for v in array.tolist()], dtype=float)


def _float(value: Any) -> float:
    if type(value) is float:
        return value
    if isinstance(value, bool | int | float):
        try:
            return float(value)
        except OverflowError:
            return math.nan
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return math.nan
    if type(value).__module__.partition(".")[0] in ("numpy", "decimal", "fractions"):
        try:
            return float(value)
        except (TypeError, ValueError):
            return math.nan
    return math.nan


def drop_missing(*columns: Column) -> tuple[list[Column], int]:
    """Return the rows in which every column has a finite number, and the number of other rows."""
    np = numpy()
    n = len(columns[0])
    if np is None:
        rows = [i for i in range(n) if all(math.isfinite(c[i]) for c in columns)]
        return [[c[i] for i in rows] for c in columns], n - len(rows)
    kept = np.isfinite(columns[0])
    for other in columns[1:]:
        kept &= np.isfinite(other)
    count = int(kept.sum())
    return ([c if count == n else c[kept] for c in columns]), n - count


def argmin(values: Column) -> int:
    """Return the index of the smallest value, the first of equal ones."""
    return int(values.argmin()) if numpy() is not None else min(range(len(values)), key=values.__getitem__)


def argmax(values: Column) -> int:
    return int(values.argmax()) if numpy() is not None else max(range(len(values)), key=values.__getitem__)


def count_equal(values: Column, to: float) -> int:
    return int((values == to).sum()) if numpy() is not None else sum(v == to for v in values)


def count_outside(values: Column, low: float, high: float) -> int:
    """Count the values below `low` or above `high`."""
    if numpy() is not None:
        return int(((values < low) | (values > high)).sum())
    return sum(v < low or v > high for v in values)


def mean(values: Column) -> float | None:
    np = numpy()
    if np is None:
        return _finite_or_none(math.fsum(values) / len(values))
    with np.errstate(all="ignore"):
        return _finite_or_none(values.mean())


def total(values: Column) -> float | None:
    np = numpy()
    if np is None:
        return _finite_or_none(math.fsum(values))
    with np.errstate(all="ignore"):
        return _finite_or_none(values.sum())


def quartiles(values: Column) -> tuple[float, float, float]:
    """Return lower quartile, median and upper quartile, interpolated linearly (NumPy's default)."""
    np = numpy()
    if np is not None:
        with np.errstate(all="ignore"):
            low, middle, high = np.percentile(values, [25, 50, 75])
        return float(low), float(middle), float(high)
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def count_outliers(values: Column) -> int | None:
    """Count the values more than 1.5 interquartile ranges outside the quartiles; None for fewer than 4 values."""
    if len(values) < 4:
        return None
    low, _, high = quartiles(values)
    reach = 1.5 * (high - low)
    return count_outside(values, low - reach, high + reach) if math.isfinite(reach) else None


def count_steps(values: Column) -> tuple[int, int]:
    """Count the steps from one value to the next that go up, and those that go down."""
    if numpy() is not None:
        return int((values[1:] > values[:-1]).sum()), int((values[1:] < values[:-1]).sum())
    pairs = list(itertools.pairwise(values))
    return sum(b > a for a, b in pairs), sum(b < a for a, b in pairs)


def direction(values: Column) -> str:
    """Return constant, rising, falling (at every step), never falling, never rising, or mixed."""
    up, down = count_steps(values)
    between = len(values) - 1
    if not up and not down:
        return "constant"
    if up and down:
        return "mixed"
    if up:
        return "rising" if up == between else "never falling"
    return "falling" if down == between else "never rising"


def fit_line(xs: Column, ys: Column) -> tuple[float | None, float | None]:
    """Return Pearson's r and the slope of the least-squares line of `ys` over `xs`; None if undefined."""
    if len(xs) < 3:
        return None, None
    np = numpy()
    if np is not None:
        with np.errstate(all="ignore"):
            dx, dy = xs - xs.mean(), ys - ys.mean()
            xx, yy, xy = float(dx @ dx), float(dy @ dy), float(dx @ dy)
    else:
        mx, my = math.fsum(xs) / len(xs), math.fsum(ys) / len(ys)
        xx = math.fsum((x - mx) ** 2 for x in xs)
        yy = math.fsum((y - my) ** 2 for y in ys)
        xy = math.fsum((x - mx) * (y - my) for x, y in zip(xs, ys, strict=True))
    if not (math.isfinite(xx) and math.isfinite(yy) and math.isfinite(xy)):
        return None, None
    if _is_constant(xs):
        return None, None
    slope = xy / xx if xx > 0 else None
    if xx <= 0 or yy <= 0 or _is_constant(ys):
        return None, 0.0 if _is_constant(ys) else slope
    return max(-1.0, min(1.0, xy / math.sqrt(xx) / math.sqrt(yy))), slope


def _is_constant(values: Column) -> bool:
    return bool(values[argmin(values)] == values[argmax(values)])


def rank(values: Column, n: int, highest: bool = True) -> list[int]:
    """Return the indices of the `n` highest (or lowest) values, the first of equal ones first."""
    rows = range(len(values))
    return sorted(rows, key=lambda i: (-values[i] if highest else values[i], i))[:n]


def _finite_or_none(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def to_floats(values: Sequence[Any] | Any) -> list[float]:
    """Convert a column to a list of Python's floats."""
    return [float(v) for v in values]
