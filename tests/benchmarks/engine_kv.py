"""Measures each format of the KV cache, and concurrent requests: `python tests/benchmarks/engine_kv.py [--json]`.

Perplexity of the embedded default on real text (`--text PATH...`: notebooks or text files; by default this repository's README
and examples), bytes per token against `models.memory`, prefill and decode speed; then tokens per second of 1, 2 and 4 concurrent
requests.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "engine"))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the server starts its worker


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, help="a JUPYTER_MISTRAL_HOME with the model pulled")
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--text", type=Path, nargs="*", default=[], help="notebooks or text files, or folders of them")
    parser.add_argument(
        "--tokens", type=int, default=2048, help="tokens of each window; longer windows read more of the cache"
    )
    parser.add_argument("--windows", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    home = options.home or Path(os.environ.get("JUPYTER_MISTRAL_TEST_MODELS") or ROOT / ".tests" / "models")
    found = measure(home / "models" / options.model / "nf4", options.text, options.tokens, options.windows)
    print(json.dumps(found, indent=1) if options.json else table(found))


def real_text(paths: list[Path]) -> str:
    paths = paths or [ROOT / "README.md", ROOT / "examples"]
    files = [file for path in paths for file in (sorted(path.rglob("*.*")) if path.is_dir() else [path])]
    return "\n\n".join(_text_of(file) for file in files if file.suffix in (".ipynb", ".md", ".py", ".txt"))


def _text_of(file: Path) -> str:
    if file.suffix != ".ipynb":
        return file.read_text(errors="replace")
    cells = json.loads(file.read_bytes()).get("cells", [])
    parts = []
    for cell in cells:
        parts.append("".join(cell["source"]))
        parts += ["".join(output.get("text", "")) for output in cell.get("outputs", []) if "text" in output]
    return "\n\n".join(parts)


def measure(folder: Path, paths: list[Path], tokens: int, windows: int) -> dict[str, Any]:
    import torch
    from jupyter_mistral.engine.kv import attention
    from jupyter_mistral.engine.text.vocabulary import Vocabulary
    from jupyter_mistral.models.memory import KV_KINDS, kv_bytes_per_head
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    attention.register()
    model.config._attn_implementation = attention.NAME
    ids = Vocabulary(folder).ids(real_text(paths))
    cuts = [ids[n * tokens : (n + 1) * tokens] for n in range(windows) if len(ids) >= (n + 1) * tokens]
    assert cuts, f"the text has {len(ids)} tokens, fewer than one window"
    config = model.config
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads = config.num_hidden_layers * config.num_key_value_heads
    kinds = {}
    for kind in KV_KINDS:
        kinds[kind] = _kind(model, kind, cuts) | {"theory_bytes": heads * kv_bytes_per_head(size, kind)}
    streams = {rows: _begun(model, ids[:600], rows) for rows in (1, 2, 4)}
    together = {str(rows): 0.0 for rows in streams}
    for _ in range(5):  # in turn, keeping the best of each: other load slows single rounds
        for rows, begun in streams.items():
            together[str(rows)] = max(together[str(rows)], _together(*begun))
    return {"model": folder.parent.name, "windows": [len(cut) for cut in cuts], "kv": kinds, "together": together}


def _kind(model: Any, kind: str, cuts: list[list[int]]) -> dict[str, float]:
    """Perplexity of all tokens except each window's first, bytes, and speeds of the last window."""
    import torch
    from jupyter_mistral.engine.kv.packed import new_sequence

    loss, count = 0.0, 0
    with torch.inference_mode():
        for cut in cuts:
            sequence, _ = new_sequence(model.config.num_hidden_layers, kind)
            sequence.reserve(len(cut))
            last, reading = None, 0.0
            for start in range(0, len(cut), 256):
                part = torch.tensor([cut[start : start + 256]])
                begin = time.monotonic()
                chances = _scores(model, sequence, part).float().log_softmax(-1)
                reading += time.monotonic() - begin
                if last is not None:
                    loss -= float(last[cut[start]])
                loss -= float(chances[:-1].gather(1, part[0, 1:, None]).sum())
                last = chances[-1]
            count += len(cut) - 1
            used = sequence.nbytes
            begin = time.monotonic()
            for _ in range(12):
                _scores(model, sequence, torch.tensor([[cut[0]]]))
            answering = 12 / (time.monotonic() - begin)
    return {
        "perplexity": math.exp(loss / count),
        "bytes": sequence.block_bytes / 64,
        "held_bytes": used / len(cuts[-1]),
        "prefill": len(cuts[-1]) / reading,
        "decode": answering,
    }


def _scores(model: Any, sequence: Any, ids: Any) -> Any:
    import torch

    before = sequence.length
    places = torch.arange(before, before + ids.shape[1])[None]
    return model(input_ids=ids, position_ids=places, use_cache=False, pack=[(sequence, ids.shape[1])]).logits[0]


def _begun(model: Any, ids: list[int], rows: int) -> tuple[Any, list[Any], list[Any]]:
    """`rows` requests with 600 tokens of context, before their second token: decoder, streams, needs."""
    from jupyter_mistral.engine.decode.decoder import Decoder
    from jupyter_mistral.engine.decode.row import Need
    from jupyter_mistral.engine.decode.sampling import Sampler
    from jupyter_mistral.engine.prompt import Prompt
    from jupyter_mistral.protocol.requests import Sampling
    from row_driver import drive

    decoder = Decoder(model, 256, None)
    streams: list[Any] = []
    for n in range(rows):
        prompt = Prompt(ids[n:])
        row = decoder.take(prompt.units, "")
        list(drive(decoder, row.prefill(prompt, "", 64, lambda: None)))
        sampler = Sampler(Sampling(temperature=0), decoder.device)
        streams.append(row.tokens(sampler, lambda: None, None, lambda: None))
    needs = [next(need for need in islice(stream, 2) if isinstance(need, Need)) for stream in streams]
    return decoder, streams, needs


def _together(decoder: Any, streams: list[Any], needs: list[Any]) -> float:
    """Tokens per second of all requests."""
    begin = time.monotonic()
    for _ in range(8):
        for n, scores in enumerate(decoder.forward(needs)):
            streams[n].send(scores)
            needs[n] = next(streams[n])
    return len(streams) * 8 / (time.monotonic() - begin)


def table(found: dict[str, Any]) -> str:
    base = found["kv"]["bf16"]["perplexity"]
    lines = [f"{found['model']}, NF4 weights; windows of {found['windows']} tokens", ""]
    lines.append("kv     perplexity          bytes a token: arithmetic  measured  held   reading  answering (tokens/s)")
    for kind, told in found["kv"].items():
        change = f"{told['perplexity'] / base - 1:+.2%}"
        lines.append(
            f"{kind:6} {told['perplexity']:10.4f} {change:>8} {told['theory_bytes']:24.0f} {told['bytes']:9.0f} "
            f"{told['held_bytes']:6.0f} {told['prefill']:8.1f} {told['decode']:8.1f}"
        )
    lines += ["", "requests together, tokens a second in all:"]
    one = found["together"]["1"]
    lines += [f"  {rows}: {speed:6.1f}  {speed / one:.2f} x" for rows, speed in found["together"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
