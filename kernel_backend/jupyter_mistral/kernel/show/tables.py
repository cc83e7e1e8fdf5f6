"""Status and catalogue of the host as Markdown tables."""

from __future__ import annotations

from typing import Any

from ...protocol.events import Loading
from .display import progress_of


def status_table(status: dict[str, Any]) -> str:
    """What `%mistral status` tells, as a Markdown table."""
    cells = [f"| {name} | {value.replace('|', chr(92) + '|')} |" for name, value in _status_rows(status)]
    return "\n".join(["| | |", "|---|---|", *cells])


def _status_rows(status: dict[str, Any]) -> list[tuple[str, str]]:
    card, memory, seal = status.get("model") or {}, status.get("memory") or {}, status.get("seal") or {}
    last = (status.get("last") or {}).get("mistral") or {}
    rows = [("state", _state(status))]
    if card:
        rows.append(
            (
                "model",
                f"{card.get('title') or card['name']} ({card['name']}), {card.get('licence') or 'licence unknown'}",
            )
        )
        kinds = f"4-bit {card['quantization']}" if card.get("quantization") else "not quantized"
        kinds += f", keys and values in {card['kv']}" if card.get("kv") not in (None, "", "bf16") else ""
        kinds += f", adapter {card['adapter']}" if card.get("adapter") else ""
        rows.append(("weights", f"{card.get('parameters', 0) / 1e9:.2f} billion, {kinds}"))
        rows.append(("context", f"{card.get('context_length', 0):,} tokens; reads {', '.join(card.get('can') or ())}"))
    else:
        rows.append(("default", str(status.get("default_model", ""))))
    if memory.get("weights"):
        away = f" and {_gb(memory['spilled'])} in host memory" if memory.get("spilled") else ""
        used = f"weights {_gb(memory['weights'])}{away}, remembered text {_gb(memory.get('kv', 0))}"
        if memory.get("others") is not None:
            used += f", other processes {_gb(memory['others'])}"
        rows.append(
            (
                "memory",
                f"{used}; {_gb(memory.get('free', 0))} of {_gb(memory.get('total', 0))} free on {memory.get('device')}",
            )
        )
    if memory.get("gpu"):
        rows.append(("GPU", ", ".join(_gpu_facts(memory))))
    if status.get("running") or status.get("queued"):
        rows.append(("requests", f"{status.get('running', 0)} running, {status.get('queued', 0)} waiting"))
    if last.get("tokens_per_second"):
        rows.append(
            (
                "last answer",
                f"first token {last.get('time_to_first_token_s', 0):.2g} s, {last['tokens_per_second']:.3g} tokens/s",
            )
        )
    kind = seal.get("kind", "none")
    if kind == "outside":
        rows += _elsewhere(seal, status.get("engine") or {})
    elif kind != "none":
        tried = "tried from inside" if seal.get("measured") else "not tried"
        rows.append(("network", f"none: sealed by {kind} ({tried})"))
    elif card:
        rows.append(("network", f"not sealed: {seal.get('reason') or 'unknown reason'}"))
    failure = status.get("failure") or {}
    if failure.get("code") == "not_recorded":
        rows.append(("audit log", str(failure.get("message", ""))))
    if status.get("idle_unload_s"):
        rows.append(("unloads", f"after {status['idle_unload_s'] / 60:.0f} minutes without use"))
    return [*rows, ("version", str(status.get("version", "")))]


def _gpu_facts(memory: dict[str, Any]) -> list[str]:
    """The name of the model's GPU, and what it draws and how warm it is where that is measured."""
    power, warmth = memory.get("power_w"), memory.get("temperature_c")
    drawn = [f"{power:.0f} W"] if power is not None else []
    return [str(memory["gpu"]), *drawn, *([f"{warmth} °C"] if warmth is not None else [])]


def _elsewhere(seal: dict[str, Any], engine: dict[str, Any]) -> list[tuple[str, str]]:
    """Where text goes, and what was found out of the engine there."""
    can = {"fill_in_the_middle": "fill in the middle", "json_schema": "JSON schema", "images": "images"}
    found = [f"{word}: {'yes' if engine[name] else 'no'}" for name, word in can.items() if engine.get(name) is not None]
    counts = [f"tokens: {engine['tokens']}"] if engine.get("tokens") else []
    prefix = [f"tokens read before: {engine['prefix']}"] if engine.get("prefix") else []
    rows = [
        ("network", str(seal.get("reason", ""))),
        ("engine", "; ".join([str(engine.get("program") or "not asked yet"), *counts, *prefix, *found])),
    ]
    return rows + [("note", str(note)) for note in engine.get("notes") or ()]


def _state(status: dict[str, Any]) -> str:
    state = str(status.get("state", "unknown"))
    if state == "loading" and status.get("progress"):
        return progress_of(Loading(**status["progress"]))[0]
    failure = status.get("failure") or {}
    words = {
        "absent": "the default model is not on disk: `%mistral load` fetches it",
        "unloaded": "not loaded: the first question, or `%mistral load`, loads it",
        "failed": str(failure.get("message", "failed")),
    }
    return words.get(state, state)


def models_table(rows: list[dict[str, Any]], default: str = "") -> str:
    """The catalogue as a Markdown table. default: the model that an unnamed request gets, where that is known."""
    lines = [
        "| model | parameters | can | context | memory at 4k | here | on disk |",
        "|---|---:|---|---:|---:|---|---|",
    ]
    for row in rows:
        need = (row.get("memory") or {}).get("4096")
        name = (
            f"**{row['name']}** (default)"
            if (row["name"] == default if default else row.get("default"))
            else str(row["name"])
        )
        lines.append(
            f"| {name} | {_count(row.get('parameters'))} | {', '.join(row.get('can') or ())} | {_tokens(row.get('context_length'))} "
            f"| {_gb(need) if need else ''} | {_fits(row)} | {row.get('state') or ''} |"
        )
    return "\n".join(lines)


def _fits(row: dict[str, Any]) -> str:
    return {"gpu": "fits the GPU", "cpu": "runs on the CPU", "no": "too large"}.get(str(row.get("fits")), "")


def _count(number: Any) -> str:
    if not isinstance(number, int) or not number:
        return ""
    return f"{number / 1e9:.3g} B" if number >= 1e9 else f"{number / 1e6:.0f} M"


def _tokens(number: Any) -> str:
    return f"{number // 1024}k" if isinstance(number, int) and number else ""


def _gb(number: float) -> str:
    return f"{number / 2**30:.1f} GiB" if number >= 2**29 else f"{number / 2**20:.0f} MiB"
