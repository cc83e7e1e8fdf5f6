"""The host's status and its list of models as Markdown tables."""

from __future__ import annotations

from typing import Any

from ...protocol.events import Loading
from .display import progress_of


def status_table(status: dict[str, Any]) -> str:
    """Build the table of `%mistral status`."""
    rows = [f"| {name} | {value.replace('|', chr(92) + '|')} |" for name, value in _status_rows(status)]
    return "\n".join(["| | |", "|---|---|", *rows])


def _status_rows(status: dict[str, Any]) -> list[tuple[str, str]]:
    card, memory = status.get("model") or {}, status.get("memory") or {}
    rows = [("state", _state(status))]
    rows += _model_rows(card) if card else [("default model", str(status.get("default_model", "")))]
    if memory.get("weights"):
        rows.append(("memory", _memory(memory)))
    if memory.get("gpu"):
        rows.append(("GPU", ", ".join(_gpu_facts(memory))))
    rows += _activity_rows(status)
    rows += _network_rows(status)
    failure = status.get("failure") or {}
    if failure.get("code") == "not_recorded":
        rows.append(("audit log", str(failure.get("message", ""))))
    if status.get("idle_unload_s"):
        rows.append(("unloads", f"after {status['idle_unload_s'] / 60:.0f} idle minutes"))
    return [*rows, ("version", str(status.get("version", "")))]


def _model_rows(card: dict[str, Any]) -> list[tuple[str, str]]:
    name = f"{card.get('title') or card['name']} ({card['name']}), {card.get('licence') or 'unknown license'}"
    weights = [f"{card.get('parameters', 0) / 1e9:.2f} B parameters"]
    weights.append(f"4-bit ({card['quantization']})" if card.get("quantization") else "not quantized")
    weights += [f"KV cache in {card['kv']}"] if card.get("kv") not in (None, "", "bf16") else []
    weights += [f"adapter {card['adapter']}"] if card.get("adapter") else []
    context = f"{card.get('context_length', 0):,} tokens; input: {', '.join(card.get('can') or ())}"
    return [("model", name), ("weights", ", ".join(weights)), ("context", context)]


def _memory(memory: dict[str, Any]) -> str:
    spilled = f" and {_size(memory['spilled'])} in host memory" if memory.get("spilled") else ""
    used = f"weights {_size(memory['weights'])}{spilled}, cache {_size(memory.get('kv', 0))}"
    if memory.get("others") is not None:
        used += f", other programs {_size(memory['others'])}"
    free, total = _size(memory.get("free", 0)), _size(memory.get("total", 0))
    return f"{used}; {free} of {total} free on {memory.get('device')}"


def _gpu_facts(memory: dict[str, Any]) -> list[str]:
    """The name of the model's GPU, and its power and temperature if they are measured."""
    power, temperature = memory.get("power_w"), memory.get("temperature_c")
    facts = [str(memory["gpu"])]
    facts += [f"{power:.0f} W"] if power is not None else []
    return facts + ([f"{temperature} °C"] if temperature is not None else [])


def _activity_rows(status: dict[str, Any]) -> list[tuple[str, str]]:
    rows = []
    if status.get("running") or status.get("queued"):
        rows.append(("requests", f"{status.get('running', 0)} running, {status.get('queued', 0)} queued"))
    last = (status.get("last") or {}).get("mistral") or {}
    if last.get("tokens_per_second"):
        first_token = f"first token {last.get('time_to_first_token_s', 0):.2g} s"
        rows.append(("last answer", f"{first_token}, {last['tokens_per_second']:.3g} tokens/s"))
    return rows


def _network_rows(status: dict[str, Any]) -> list[tuple[str, str]]:
    seal = status.get("seal") or {}
    kind = seal.get("kind", "none")
    if kind == "outside":
        return _external_engine_rows(seal, status.get("engine") or {})
    if kind != "none":
        return [("network", f"blocked by {kind} ({'verified' if seal.get('measured') else 'not verified'})")]
    if status.get("model"):
        return [("network", f"not blocked: {seal.get('reason') or 'unknown reason'}")]
    return []


def _external_engine_rows(seal: dict[str, Any], engine: dict[str, Any]) -> list[tuple[str, str]]:
    """Where the text is sent, and what is known about the engine there."""
    capabilities = {"fill_in_the_middle": "fill in the middle", "json_schema": "JSON schema", "images": "images"}
    facts = [str(engine.get("program") or "not checked yet")]
    facts += [f"tokens: {engine['tokens']}"] if engine.get("tokens") else []
    facts += [f"cached tokens: {engine['prefix']}"] if engine.get("prefix") else []
    facts += [
        f"{label}: {'yes' if engine[name] else 'no'}"
        for name, label in capabilities.items()
        if engine.get(name) is not None
    ]
    rows = [("network", str(seal.get("reason", ""))), ("engine", "; ".join(facts))]
    return rows + [("note", str(note)) for note in engine.get("notes") or ()]


def _state(status: dict[str, Any]) -> str:
    state = str(status.get("state", "unknown"))
    if state == "loading" and status.get("progress"):
        return progress_of(Loading(**status["progress"]))[0]
    failure = status.get("failure") or {}
    sentences = {
        "absent": "The default model is not downloaded yet. `%mistral load` downloads it.",
        "unloaded": "Not loaded. It loads with your first question or `%mistral load`.",
        "failed": str(failure.get("message", "failed")),
    }
    return sentences.get(state, state)


def models_table(rows: list[dict[str, Any]], default: str = "") -> str:
    """Build the table of `%mistral list`. default: the default model's name, if it is known."""
    lines = [
        "| model | parameters | input | context | memory at 4k | fit | on disk |",
        "|---|---:|---|---:|---:|---|---|",
    ]
    for row in rows:
        is_default = row["name"] == default if default else row.get("default")
        memory = (row.get("memory") or {}).get("4096")
        cells = [
            f"**{row['name']}** (default)" if is_default else str(row["name"]),
            _parameters(row.get("parameters")),
            ", ".join(row.get("can") or ()),
            _context_length(row.get("context_length")),
            _size(memory) if memory else "",
            _fit(row),
            str(row.get("state") or ""),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _fit(row: dict[str, Any]) -> str:
    return {"gpu": "fits the GPU", "cpu": "runs on the CPU", "no": "too large"}.get(str(row.get("fits")), "")


def _parameters(count: Any) -> str:
    if not isinstance(count, int) or not count:
        return ""
    return f"{count / 1e9:.3g} B" if count >= 1e9 else f"{count / 1e6:.0f} M"


def _context_length(tokens: Any) -> str:
    return f"{tokens // 1024}k" if isinstance(tokens, int) and tokens else ""


def _size(count: float) -> str:
    """Bytes in GiB or MiB."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**29 else f"{count / 2**20:.0f} MiB"
