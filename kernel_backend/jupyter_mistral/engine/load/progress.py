"""Turns the progress bars of transformers into loading events."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers.utils import logging

from .folder import Report


@contextmanager
def report_progress(report: Report, stage: str, low: float, high: float, detail: str) -> Iterator[None]:
    """Within the block, each bar's progress from 0 to 1 is reported as `low` to `high` of the stage."""

    def bar(factory: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Bar:
        return _Bar(args[0] if args else kwargs.get("iterable"), report, stage, low, high, detail)

    report(stage, low, detail, None)
    before = logging.set_tqdm_hook(bar)
    try:
        yield
    finally:
        logging.set_tqdm_hook(before)


class _Bar:
    """As much of tqdm as transformers uses: iteration, and methods whose results are ignored."""

    def __init__(self, items: Any, report: Report, stage: str, low: float, high: float, detail: str) -> None:
        self._items = list(items or [])
        self._report, self._stage, self._low, self._high, self._detail = report, stage, low, high, detail

    def __iter__(self) -> Iterator[Any]:
        start, total = time.monotonic(), len(self._items)
        for n, item in enumerate(self._items, 1):
            yield item
            left = (time.monotonic() - start) / n * (total - n)
            self._report(self._stage, self._low + (self._high - self._low) * n / total, self._detail, left)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *args: object) -> None:
        """Nothing was opened."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None
