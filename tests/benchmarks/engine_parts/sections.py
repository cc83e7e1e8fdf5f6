"""Runs each section of a benchmark in its own process with its own time limit, so that a failure does not affect the others."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from .shapes import Shape

Figures = dict[str, Any]
Report = Callable[[str, Figures], None]  # a row of the section's table: its name, its figures by column


@dataclass(frozen=True)
class Plan:
    """What all sections are measured on."""

    shape: Shape
    device: str  # cuda or cpu
    llama_cpp: Path | None = None
    patience: int = 1  # factor of a section's time limit, for runs that measure nothing

    @property
    def is_tiny(self) -> bool:
        return self.shape.name == "tiny"


@dataclass(frozen=True)
class Section:
    """A section is stopped after `seconds`."""

    name: str
    about: str
    seconds: int
    measure: str  # "module.function" of this package: `(Plan, Report) -> None`, which reports each figure at once


def run(section: Section, plan: Plan) -> dict[str, Any]:
    """Run a section. Returns its figures by row, and the `reason` if it ended early."""
    # forked, so that torch is imported once. The parent must not touch the device, which would not survive a fork;
    # importing bitsandbytes does touch it, so the children import the sections
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(theirs, section, plan))
    begin = time.monotonic()
    child.start()
    theirs.close()
    try:
        found = _received(ours, begin + plan.patience * section.seconds)
        child.join(timeout=0 if "reason" in found else 10)
        if child.exitcode and "reason" not in found:
            found["reason"] = f"its process ended with {child.exitcode}"
    finally:  # it may hang, or have left processes behind
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid or 0, signal.SIGKILL)
        child.kill()
        child.join()
    found["seconds"] = round(time.monotonic() - begin, 1)
    return found


def _received(pipe: Connection, deadline: float) -> dict[str, Any]:
    found: dict[str, Any] = {"figures": {}}
    while pipe.poll(max(0.0, deadline - time.monotonic())):
        try:
            name, figures = pipe.recv()
        except EOFError:
            return found
        if name is None:
            return found | {"reason": figures}
        found["figures"][name] = figures
    return found | {"reason": "it reached its time limit"}


def _child(pipe: Connection, section: Section, plan: Plan) -> None:
    os.setsid()  # so that its child processes can be ended with it
    try:
        module, _, function = section.measure.partition(".")
        measure = getattr(importlib.import_module(f".{module}", __package__), function)
        measure(plan, lambda name, figures: pipe.send((name, figures)))
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        text = str(error).strip().splitlines()
        pipe.send((None, f"{type(error).__name__}: {text[0] if text else ''}"))
    pipe.close()
