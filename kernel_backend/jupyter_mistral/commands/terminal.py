"""Tables, status and progress as the commands print them; plain text if standard output is not a terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from ..models.memory import gib
from ..protocol.events import Loading

_STAGES = {"download": "Downloading", "quantize": "Quantizing to 4-bit", "load": "Loading", "warm": "Warming up"}


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """A table with columns as wide as their longest cell. right: the columns that are aligned right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = [c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
        return "  ".join(padded).rstrip()

    return "\n".join([line(head), line(["─" * w for w in widths]), *map(line, rows)])


def pairs(rows: Sequence[tuple[str, str]]) -> str:
    """One name and value on each line."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in rows)


def seconds(count: float) -> str:
    """A duration for people: 9 s, 2 min 05 s, 1 h 10 min."""
    whole = int(count + 0.5)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60:02} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02} min"


def models_table(rows: Iterable[dict[str, Any]]) -> str:
    """The rows of `models.listing` as a table; sizes in GiB."""
    head = ["", "name", "parameters", "can", "context", "download", "4k", "32k", "128k", "fits", "state", "license"]
    cells = [
        [
            "*" if row["default"] else "",
            row["name"],
            f"{row['parameters'] / 1e9:.1f} B" if row["parameters"] >= 10**9 else f"{row['parameters'] / 1e6:.0f} M",
            " ".join(row["can"]),
            f"{row['context_length'] // 1024}k",
            _number(row["disk"]["download"]),
            *(_number(row["memory"][context]) for context in ("4096", "32768", "131072")),
            _fit(row),
            row["state"],
            row["licence"],
        ]
        for row in rows
    ]
    return table(head, cells, right=(2, 4, 5, 6, 7, 8))


def _fit(row: dict[str, Any]) -> str:
    """Where a model runs, and the longest of the three context lengths that fits there."""
    longest = max((int(c) for c, where in row["fits_by_context"].items() if where not in (None, "no")), default=0)
    return f"{row['fits']} to {longest // 1024}k" if longest else "no"


def _number(count: int | None) -> str:
    return f"{count / 2**30:.1f}" if count else "-"


def status_text(report: dict[str, Any]) -> str:
    """The status of the host, or that there is none."""
    on_disk = ", ".join(report["on_disk"]) or "none; run `jupyter mistral pull` to download the default model"
    if not report["host"]:
        lines = [("default", report["default_model"]), ("on disk", on_disk)]
        return "No model host is running. Start JupyterLab, or `jupyter mistral serve`.\n\n" + pairs(lines)
    model, memory, seal = report["model"], report["memory"], report["seal"]
    lines = [("host", f"process {report['host']['pid']}"), ("state", report["state"])]
    if model:
        kinds = model["quantization"] + (f", KV {model['kv']}" if model.get("kv") not in (None, "", "bf16") else "")
        lines.append(("model", f"{model['name']} ({kinds}, context {model['context_length']:,} tokens)"))
    if memory["total"]:
        others = f", {gib(memory['others'])} other programs" if memory.get("others") is not None else ""
        away = f" and {gib(memory['spilled'])} in host memory" if memory.get("spilled") else ""
        used = f"{gib(memory['weights'])} weights{away}, {gib(memory['kv'])} cache{others} on {memory.get('gpu') or memory['device']}"
        lines.append(("memory", used))
    lines.append(("requests", f"{report['running']} running, {report['queued']} waiting"))
    has_seal = report["worker_pid"] or seal["kind"] != "none"
    lines.append(("network", _seal_text(seal) if has_seal else seal["reason"]))
    lines += [("default", report["default_model"]), ("on disk", on_disk)]
    if report["failure"]:
        lines.append(("last failure", report["failure"]["message"]))
    return pairs(lines)


def _seal_text(seal: dict[str, Any]) -> str:
    if seal["kind"] == "outside":
        return str(seal["reason"])
    if seal["kind"] == "none":
        return f"NOT blocked: {seal['reason']}"
    return f"blocked by {seal['kind']}" + (" (verified)" if seal["measured"] else f", but {seal['reason']}")


class Progress:
    """Shows Loading events: a progress bar on a terminal, otherwise a line for each tenth of each stage."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._is_terminal = self._out.isatty()
        self._width = 0
        self._said: tuple[str, object] = ("", None)

    def __call__(self, event: Loading) -> None:
        if self._is_terminal:
            self._draw(event)
        else:
            self._say(event)

    def close(self) -> None:
        """End the line of the bar."""
        if self._width:
            self._out.write("\n")
            self._width = 0
            self._out.flush()

    def _draw(self, event: Loading) -> None:
        columns = shutil.get_terminal_size().columns - 1
        text = _words(event)
        if event.fraction is not None:
            filled = int(20 * event.fraction)
            text = f"[{'█' * filled}{'·' * (20 - filled)}] {event.fraction:4.0%}  {text}"
        text = text[:columns]
        self._out.write("\r" + text.ljust(self._width))
        self._width = len(text)
        self._out.flush()

    def _say(self, event: Loading) -> None:
        mark = int(event.fraction * 10) if event.fraction is not None else event.detail
        if self._said == (event.stage, mark):
            return
        self._said = (event.stage, mark)
        share = f"{event.fraction:4.0%}  " if event.fraction is not None else ""
        print(f"{share}{_words(event)}", file=self._out, flush=True)


def _words(event: Loading) -> str:
    left = f", {seconds(event.eta_s)} left" if event.eta_s else ""
    return _STAGES[event.stage] + (f": {event.detail}" if event.detail else "") + left
