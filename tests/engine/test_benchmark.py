"""`tests/benchmarks/engine.py` with its tiny shape: every section runs without a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "engine.py"
sys.path.insert(0, str(SCRIPT.parent))

from engine_parts import goals  # noqa: E402
from engine_parts.shapes import LAYER  # noqa: E402

SECTIONS = (
    "ceilings", "ways", "identical", "kernels", "head", "contexts", "kinds", "together", "edits", "small-card", "build", "peer",
)  # fmt: skip


# stands for `llama-bench`: reads the model that it is given, and answers as that does
_BENCH = """
import json, sys
import gguf
reader = gguf.GGUFReader(sys.argv[sys.argv.index("-m") + 1])
assert sys.argv[sys.argv.index("-ngl") + 1] == "0"
assert reader.get_field("llama.block_count").contents() == 2
print(json.dumps([{"n_gen": 64, "avg_ts": float(len(reader.tensors))}]))
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    bench = tmp_path_factory.mktemp("peer") / "llama-bench"
    bench.write_text(f"#!{sys.executable}\n{_BENCH}")
    bench.chmod(0o755)
    line = [sys.executable, str(SCRIPT), "--tiny", "--json", "--llama-cpp", str(bench)]
    environ = os.environ | {"OMP_NUM_THREADS": "1", "TRITON_INTERPRET": "0"}
    done = subprocess.run(line, env=environ, capture_output=True, text=True, timeout=1000, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_every_section_has_figures(page: dict[str, Any]) -> None:
    assert tuple(page["sections"]) == SECTIONS
    for name, section in page["sections"].items():
        assert "reason" not in section, (name, section)
        assert section["figures"] and all("reason" not in row for row in section["figures"].values()), (name, section)


@pytest.mark.slow
def test_the_fast_path_gives_the_references_tokens(page: dict[str, Any]) -> None:
    greedy = page["sections"]["identical"]["figures"]["greedy"]
    assert greedy["identical"] is True and greedy["tokens"] == greedy["of"] == 48
    # both round to 16 bit, so that they differ a little: else one would have been compared with itself
    assert 0 < float(greedy["error, most"]) < 0.05


@pytest.mark.slow
def test_accepted_drafts_save_steps(page: dict[str, Any]) -> None:
    told = {name: row["tokens a step"] for name, row in page["sections"]["edits"]["figures"].items()}
    assert told["no lookup"] < 1.1 < told["draft of 3"] < min(told["draft of 7"], told["draft of 15"])


@pytest.mark.slow
def test_kernels_are_as_exact_as_16_bit_allows(page: dict[str, Any]) -> None:
    rows = page["sections"]["kernels"]["figures"]
    errors = [row["ours, error"] for row in rows.values() if "ours, error" in row]
    assert len(errors) == 4 * 5 and max(errors) < 0.004


@pytest.mark.slow
def test_speed_is_not_judged_on_a_tiny_shape(page: dict[str, Any]) -> None:
    assert "its times do not show speed" in page["note"]
    judged = {goal["goal"]: goal["met"] for goal in page["goals"]}
    assert judged.pop("share of greedy tokens that are the reference's") is True
    assert len(judged) == 6 and set(judged.values()) == {None}


def test_goals_are_met_missed_or_not_measured() -> None:
    ways = {
        "generate of transformers": {"tokens/s": 30.0, "GB a step": 12.0},
        "ours": {"tokens/s": 190.0, "GB a step": 12.0},
        "broken": {"reason": "no such kernel"},
    }
    kernels = {f"{LAYER}, {m} rows": {"ours, of copy": 0.85 - m / 100} for m in (1, 2, 4, 8, 16)}
    peer = {
        "llama.cpp": {"tokens/s": 110.0, "GB a step": 15.0}
    }  # of our bytes it would read 137.5 times as many a second
    found = {"ways": ways, "kernels": kernels, "peer": peer, "small-card": {"131072 tokens": {"fits": False}}}
    told = goals.judged({name: {"figures": figures} for name, figures in found.items()}, measures_speed=True)
    assert [(goal["measured"], goal["met"]) for goal in told] == [
        (190.0, True),
        (None, None),
        (6.33, True),
        (1.38, True),
        (0, False),
        (None, None),
        (0.77, False),
    ]


@pytest.mark.slow
def test_a_peer_is_given_a_model_of_the_same_shape(page: dict[str, Any]) -> None:
    told = page["sections"]["peer"]["figures"]["llama.cpp"]
    assert told == {"tokens/s": 3 + 2 * 9, "GB a step": 0.001}  # as many as its file has tensors


def test_a_section_that_fails_or_hangs_keeps_its_figures_and_a_reason() -> None:
    code = f"""
import os, sys, time; sys.path.insert(0, {str(SCRIPT.parent)!r})
from engine_parts import ceilings, sections, shapes
def broken(plan, tell): tell("a", {{"x": 1}}); raise ValueError("no such kernel")
def hanging(plan, tell): tell("b", {{"x": 2}}); time.sleep(60)
def dying(plan, tell): os._exit(7)
for part in (broken, hanging, dying): setattr(ceilings, part.__name__, part)
plan = sections.Plan(shapes.SHAPES["tiny"], "cpu")
for part in (broken, hanging, dying):
    found = sections.run(sections.Section("s", "", 2, f"ceilings.{{part.__name__}}"), plan)
    print(found["figures"], found["reason"])
os.environ["PATH"] = ""
print(sections.run(sections.Section("s", "", 60, "peer.measure"), plan)["reason"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout.splitlines() == [
        "{'a': {'x': 1}} ValueError: no such kernel",
        "{'b': {'x': 2}} it reached its time limit",
        "{} its process ended with 7",
        "FileNotFoundError: no llama-bench on PATH, and no llama.cpp by --llama-cpp PATH: no peer was measured",
    ]
