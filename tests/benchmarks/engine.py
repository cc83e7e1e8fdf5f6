"""Measures the engine in one run: `python tests/benchmarks/engine.py [--json] [--only SECTION...]`.

On a GPU: the machine's limits, our decode steps against transformers' `generate` and llama.cpp, our kernels against
bitsandbytes', long contexts, KV formats, concurrent requests, prompt lookup, and whether all of it keeps the reference's tokens.
It uses random weights in a real model's shape, so nothing is downloaded. Without a GPU: the embedded default (`embedded`).
`--tiny` runs the GPU's sections on the CPU with a tiny shape, to check that they work.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "engine"))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the server starts its worker
os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # detects a GPU without touching it (see `sections.run`)

from engine_parts import goals, sections  # noqa: E402
from engine_parts.page import page  # noqa: E402
from engine_parts.shapes import SHAPES  # noqa: E402

EMBEDDED = "embedded"
NOTE = "note: a tiny shape on the CPU. It checks that every section runs; its times do not show speed."
# the seconds are time limits for the 24b shape on an H100: ten minutes in all, without building the peer
SECTIONS = {
    section.name: section
    for section in (
        sections.Section("ceilings", "the limits of this machine", 15, "ceilings.measure"),
        sections.Section("ways", "a new answer, from transformers' generate to our full path", 120, "decoding.ways"),
        sections.Section(
            "identical", "greedy tokens of the fast path against the reference's", 45, "decoding.identical"
        ),
        sections.Section("kernels", "4-bit matrices alone", 80, "kernels.measure"),
        sections.Section("head", "the output layer alone", 20, "kernels.head"),
        sections.Section("contexts", "a new answer after contexts of several lengths", 60, "decoding.contexts"),
        sections.Section("kinds", "formats of the KV cache, at one long context", 70, "decoding.kinds"),
        sections.Section("together", "requests answered at once", 35, "decoding.together"),
        sections.Section("edits", "prompt lookup on recorded edits of cells", 50, "edits.measure"),
        sections.Section("small-card", "the longest context on a card with 24 GB", 35, "decoding.small_card"),
        sections.Section("build", "build the peer, if its sources are given", 900, "peer.build"),
        sections.Section("peer", "llama.cpp on a random model of the same shape", 60, "peer.measure"),
    )
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="SECTION", choices=[EMBEDDED, *SECTIONS], help=", ".join(SECTIONS))
    parser.add_argument(
        "--shape", choices=SHAPES, default="24b", help="of the random weights; 24b is Mistral Small 3.1"
    )
    parser.add_argument("--tiny", action="store_true", help="the GPU's sections on the CPU: a check, not a measurement")
    parser.add_argument(
        "--llama-cpp", type=Path, help="path of its sources or of llama-bench; by default llama-bench on PATH"
    )
    parser.add_argument("--home", type=Path, help="a JUPYTER_MISTRAL_HOME with the embedded default pulled")
    parser.add_argument(
        "--quick", action="store_true", help="embedded: shorter prompts; leaves out converting and bf16"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    import torch

    has_gpu = torch.cuda.is_available() and not options.tiny
    chosen = options.only or (list(SECTIONS) if has_gpu or options.tiny else [EMBEDDED])
    found: dict[str, Any] = {"machine": machine()}
    if EMBEDDED in chosen:
        home = options.home or Path(os.environ.get("JUPYTER_MISTRAL_TEST_MODELS") or ROOT / ".tests" / "models")
        found[EMBEDDED] = embedded(home, options.quick)
    of_shapes = [SECTIONS[name] for name in chosen if name != EMBEDDED]
    if of_shapes and not (has_gpu or options.tiny):
        parser.error("no GPU was found; without one these sections run only with --tiny")
    if of_shapes:
        shape = SHAPES["tiny" if options.tiny else options.shape]
        plan = sections.Plan(shape, "cuda" if has_gpu else "cpu", options.llama_cpp, 1 if has_gpu else 20)
        found |= measured(plan, of_shapes)
    print(json.dumps(found, indent=1) if options.json else text(found))


def measured(plan: sections.Plan, chosen: list[sections.Section]) -> dict[str, Any]:
    """Run sections on random weights."""
    preload(plan)
    found = {}
    for section in chosen:
        print(f"{section.name}: {section.about}", file=sys.stderr, flush=True)
        found[section.name] = sections.run(section, plan)
    is_gpu = plan.device == "cuda"
    return {
        "shape": plan.shape.name,
        "note": "" if is_gpu else NOTE,
        "sections": found,
        "goals": goals.judged(found, measures_speed=is_gpu and plan.shape.name == "24b"),
    }


def preload(plan: sections.Plan) -> None:
    """Import what every section needs, except what touches the GPU, which the sections' processes could then not use."""
    import_module("jupyter_mistral.engine.decode.decoder")
    import_module("transformers.models.mistral.modeling_mistral")
    if plan.device == "cpu":
        import_module("engine_parts.decoding")
    else:
        assert "bitsandbytes" not in sys.modules, "importing it asks the GPU what it can do"


def embedded(home: Path, quick: bool) -> dict[str, Any]:
    from engine_parts import cpu

    with tempfile.TemporaryDirectory() as scratch:
        return cpu.measure(home / "models" / "qwen2.5-coder-0.5b", Path(scratch), quick)


def machine() -> dict[str, Any]:
    versions = {name: version(name) for name in ("torch", "transformers", "bitsandbytes")}
    return {"cpu_count": os.cpu_count(), "python": platform.python_version(), "system": platform.platform(), **versions}


def text(found: dict[str, Any]) -> str:
    parts = []
    if EMBEDDED in found:
        from engine_parts import cpu

        parts.append(cpu.table(found[EMBEDDED]))
    if "sections" in found:
        parts.append(page(found, {name: section.about for name, section in SECTIONS.items()}))
    return "\n\n".join(parts)


if __name__ == "__main__":
    main()
