"""The engine with the embedded default, as on a user's machine without a GPU.

Loading (first and second), reading and answering in NF4 against bf16 and llama.cpp on the same weights, the prefix memory,
prompt lookup on the rewriting of a cell, and the seal. Ratios within a run are steadier than absolute speeds.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from engine_host import Host

ROOT = Path(__file__).parents[3]

CELL = '''import numpy as np
import pandas as pd

def summarise(values, weights=None):
    """Mean, spread and extremes of a column."""
    values = np.asarray(values, dtype=float)
    weights = np.ones_like(values) if weights is None else np.asarray(weights, dtype=float)
    keep = ~np.isnan(values)
    values, weights = values[keep], weights[keep]
    mean = (values * weights).sum() / weights.sum()
    spread = np.sqrt(((values - mean) ** 2 * weights).sum() / weights.sum())
    return {"mean": mean, "spread": spread, "least": values.min(), "most": values.max()}

frame = pd.read_csv("sales.csv")
print(summarise(frame["revenue"]))
'''


def measure(folder: Path, scratch: Path, quick: bool) -> dict[str, Any]:
    gguf = next((folder / "source").glob("*.gguf"))
    found: dict[str, Any] = {"machine": machine()}
    nf4 = folder / "nf4"
    if not quick or not (nf4 / "manifest.json").is_file():
        nf4 = scratch / "nf4"
        found["load_first_s"] = timed_load(gguf, scratch / "a", out=str(nf4))["seconds"]
    second = timed_load(nf4, scratch / "b")
    found |= {"start_s": second["start"], "load_second_s": second["seconds"], "seal": second["seal"]}
    host = Host(scratch / "c")
    host.load(nf4)
    tokens = 512 if quick else 4096
    found["nf4"] = speeds(host, tokens // 8)
    found["memory_mb"] = peak_mb(host.process.pid)
    found["prefix"] = prefix(host, tokens)
    host.send("shutdown")  # which waits until the prefix disk is written
    host.process.wait(timeout=120)
    host.close()
    host = Host(scratch / "c")
    host.load(nf4)
    found["prefix"]["after restart"] = restarted(host, tokens, found["prefix"]["cold"]["first_token_s"])
    host.close()
    found["lookup"] = lookup(nf4)
    found["head"] = head(nf4)
    if quick:
        found["bf16"] = found["llama_cpp"] = "left out by --quick"
    else:
        found["bf16"] = bf16_speeds(gguf, tokens // 8)
        found["llama_cpp"] = llama_speeds(gguf, tokens // 8)
    return found


def machine() -> dict[str, Any]:
    from importlib.metadata import version

    versions = {name: version(name) for name in ("torch", "transformers", "bitsandbytes")}
    return {"cpu_count": os.cpu_count(), "python": platform.python_version(), "system": platform.platform(), **versions}


def timed_load(path: Path, home: Path, **fields: Any) -> dict[str, Any]:
    begin = time.monotonic()
    host = Host(home)
    start = time.monotonic() - begin
    loaded = host.load(path, **fields)
    assert loaded["type"] == "ready", loaded
    seconds = time.monotonic() - begin
    host.close()
    return {"start": round(start, 3), "seconds": round(seconds, 2), "seal": host.hello["seal"]}


def words(tokens: int, salt: str) -> str:
    """About this many tokens of Python, with a beginning that no earlier request had."""
    return f"# {salt}\n" + (CELL * (tokens // 170 + 1))[: int(tokens * 3.7)]


def speeds(host: Host, tokens: int) -> dict[str, float]:
    """Medians of three, each with a new prompt."""
    usages = []
    for n in range(3):
        end = host.ask(
            words(tokens, f"run {n}") + "\nExplain.", sampling={"temperature": 0.7, "max_tokens": 48, "seed": n}
        )
        usages.append(end["usage"])
    keys = {"prefill": "prefill_tokens_per_second", "decode": "tokens_per_second"}
    return {name: round(statistics.median(usage[key] for usage in usages), 1) for name, key in keys.items()}


def first_token(host: Host, text: str) -> dict[str, float]:
    usage = host.ask(text, sampling={"max_tokens": 2})["usage"]
    share = usage["cached_tokens"] / usage["prompt_tokens"]
    return {
        "first_token_s": usage["time_to_first_token_s"],
        "reused": round(share, 3),
        "tokens": usage["prompt_tokens"],
    }


def restarted(host: Host, tokens: int, cold: float) -> dict[str, float]:
    """A new question about the same notebook, with a worker that has only the prefix disk."""
    figures = first_token(host, words(tokens, "a notebook") + "\nWhat does the function return?")
    return figures | {"faster": round(cold / figures["first_token_s"], 1)}


def prefix(host: Host, tokens: int) -> dict[str, Any]:
    notebook = words(tokens, "a notebook")
    half = len(notebook) // 2

    def first(text: str) -> dict[str, float]:
        return first_token(host, text)

    found: dict[str, Any] = {"cold": first(notebook + "\nWhat is imported?")}
    found["same question"] = first(notebook + "\nWhat is imported?")
    found["new question"] = first(notebook + "\nWhat does the function return?")
    found["appended cell"] = first(notebook + "\nprint(frame.head())\n\nWhat does the last cell print?")
    found["edited in the middle"] = first(
        notebook[:half] + "\nedited = True\n" + notebook[half:] + "\nWhat is imported?"
    )
    cold = found["cold"]["first_token_s"]
    for name, figures in found.items():
        figures["faster"] = round(cold / figures["first_token_s"], 1) if name != "cold" else 1.0
    return found


def lookup(folder: Path) -> dict[str, Any]:
    """The same greedy answer with and without lookup, in this process, so that nothing else differs."""
    from jupyter_mistral.engine.load.loader import load
    from row_driver import answer

    engine = load({"path": str(folder), "device": "auto", "prefix_disk": False}, lambda *told: None)
    question = f"Rename the variable `values` to `numbers` in this cell and print the whole cell:\n```python\n{CELL}```"
    prompt = engine.template.prompt([("user", [question])])
    answers, rates = [], []
    answer(engine.decoder, prompt.ids, tokens=1)  # prefill it once, so that only decoding is measured
    for helper in (False, True):
        begin = time.monotonic()
        answers.append(answer(engine.decoder, prompt.ids, helper, 170)[0])
        rates.append(170 / (time.monotonic() - begin))
    same = answers[0] == answers[1]
    return {"off": round(rates[0], 1), "on": round(rates[1], 1), "faster": round(rates[1] / rates[0], 2), "same": same}


def bf16_speeds(gguf: Path, tokens: int) -> dict[str, float]:
    """The unquantized weights in transformers, with its own cache."""
    import torch
    from transformers import AutoModelForCausalLM, DynamicCache, GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    ).eval()
    prefill, decode = [], []
    with torch.inference_mode():
        for n in range(3):
            cache = DynamicCache(config=model.config)
            ids = torch.tensor([[(i * 7919 + n) % 20000 + 100 for i in range(tokens)]])
            begin = time.monotonic()
            token = model(input_ids=ids, past_key_values=cache, logits_to_keep=1).logits[:, -1:].argmax(-1)
            prefill.append(tokens / (time.monotonic() - begin))
            begin = time.monotonic()
            for _ in range(24):
                token = model(input_ids=token, past_key_values=cache).logits[:, -1:].argmax(-1)
            decode.append(24 / (time.monotonic() - begin))
    return {"prefill": round(statistics.median(prefill), 1), "decode": round(statistics.median(decode), 1)}


def llama_speeds(gguf: Path, tokens: int) -> dict[str, float] | str:
    """llama.cpp's own server and timings, on the original file."""
    try:
        import xllamacpp  # noqa: F401  # runs in a child: it would share this process's threads
    except ImportError:
        return "not measured: xllamacpp is not installed here"
    command = [sys.executable, str(ROOT / "tests" / "server" / "external" / "llamacpp_engine.py"), str(gguf)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        timings = [_llama_timings(address, tokens, n) for n in range(3)]
    finally:
        process.kill()
        process.wait()
    keys = {"prefill": "prompt_per_second", "decode": "predicted_per_second"}
    return {name: round(statistics.median(told[key] for told in timings), 1) for name, key in keys.items()}


def _llama_timings(address: str, tokens: int, n: int) -> dict[str, float]:
    ids = [(i * 7919 + n) % 20000 + 100 for i in range(tokens)]
    body = {"prompt": ids, "n_predict": 48, "cache_prompt": False, "ignore_eos": True, "temperature": 0}
    asked = urllib.request.Request(
        f"{address}/completion", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked, timeout=600) as reply:
        timings: dict[str, float] = json.load(reply)["timings"]
    return timings


def head(folder: Path) -> dict[str, Any]:
    """The output layer in full and in int8, on random states: median milliseconds, and how often they agree."""
    import torch
    from jupyter_mistral.engine.load.loader import load

    engine = load({"path": str(folder), "device": "cpu", "prefix_disk": False}, lambda *told: None)
    small = engine.decoder._model.get_output_embeddings()
    times: dict[str, list[float]] = {"full": [], "int8": []}
    same = 0
    with torch.inference_mode():
        states = 8 * torch.randn(40, 1, small.weight.shape[1]).bfloat16()
        for state in states:
            chosen = []
            for name, way in (("full", small._head), ("int8", small)):
                begin = time.perf_counter()
                chosen.append(int(way(state).argmax()))
                times[name].append(1000 * (time.perf_counter() - begin))
            same += chosen[0] == chosen[1]
    found = {name: round(statistics.median(taken), 1) for name, taken in times.items()}
    return {**found, "faster": round(found["full"] / found["int8"], 2), "same": f"{same} of {len(states)}"}


def peak_mb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))


def table(found: dict[str, Any]) -> str:
    lines = ["Engine, embedded default (Qwen2.5-Coder-0.5B), NF4", f"machine: {found['machine']}", ""]
    seal = found["seal"]
    lines.append(f"seal: {seal['kind']}, measured: {seal['measured']}; worker says hello after {found['start_s']} s")
    first = found.get("load_first_s", "left out by --quick")
    lines.append(f"load, from process start: first (with quantizing) {first} s, second {found['load_second_s']} s")
    lines.append(f"peak memory of the worker: {found['memory_mb']} MB")
    lines += ["", "tokens a second        reading  answering"]
    for name in ("nf4", "bf16", "llama_cpp"):
        speed = found[name]
        lines.append(
            f"  {name:20} " + (speed if isinstance(speed, str) else f"{speed['prefill']:7}  {speed['decode']:9}")
        )
        if name != "nf4" and isinstance(speed, dict):
            ratios = [f"{found['nf4'][key] / speed[key]:.2f}" for key in ("prefill", "decode")]
            lines.append(f"    nf4 against it     {ratios[0]:>7}  {ratios[1]:>9}")
    lines += ["", "prefix memory          first token  reused  against cold"]
    for name, figures in found["prefix"].items():
        lines.append(
            f"  {name:20} {figures['first_token_s']:9.3f} s {figures['reused']:7.1%} {figures['faster']:9.1f} x"
        )
    told = found["lookup"]
    lines += [
        "",
        f"prompt lookup on a cell edit: {told['off']} -> {told['on']} tokens/s, {told['faster']} x, same: {told['same']}",
    ]
    last = found["head"]
    lines.append(
        f"last layer: {last['full']} ms in full, {last['int8']} ms by int8, {last['faster']} x, same token: {last['same']}"
    )
    return "\n".join(lines)
