"""Calculates how many machines a number of users needs, from costs per token: `python tests/benchmarks/endpoint_capacity.py`

`--measure URL --key KEY` measures the costs of an OpenAI-compatible endpoint (an address ending in /v1) and calculates with them.
Without it, two sets of costs are used: measurements on two CPU cores, and half of a GPU's data sheet.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx

USERS = (1, 10, 100, 10_000)


@dataclass(frozen=True)
class Habits:
    """The behaviour of users. Adjust these guesses first; the table depends on them."""

    active: float = 0.3  # of all users, in the busiest hour; a single user is active
    questions_per_hour: float = 12.0  # of an active user
    prompt_tokens: int = 6000  # notebook, history and question
    reused: float = 0.8  # of the prompt, from the prefix cache: follow-ups change little
    answer_tokens: int = 300


@dataclass(frozen=True)
class Machine:
    """Costs of one machine. prefill, decode: tokens per second; decode_all: of all answers when `together` run at once."""

    name: str
    prefill: float
    decode_one: float
    decode_all: float
    together: int
    basis: str


def of_data_sheet(
    name: str, bandwidth: float, flops: float, memory: float, *, parameters: float, weight_bytes: float, kv_bytes: float
) -> Machine:
    """Half of a GPU's data sheet. bandwidth in bytes/s, flops at 16 bit, memory in bytes; kv_bytes per token."""
    share, context = 0.5, Habits().prompt_tokens
    room = memory * 0.9 - weight_bytes
    together = max(1, min(32, int(room / (kv_bytes * context))))
    step = lambda answers: (weight_bytes + answers * kv_bytes * context) / (bandwidth * share)  # noqa: E731
    return Machine(
        name,
        prefill=flops * share / (2 * parameters),
        decode_one=1 / step(1),
        decode_all=together / step(together),
        together=together,
        basis="half of the data sheet, not measured",
    )


# by --measure with --together 4 and the embedded default, on two cores that had other work too
CPU = Machine("2 CPU cores, 0.5B in 4 bit", 119, 22, 19, 4, "measured")
# Mistral Small 24B in FP8 on one H100 (3.35 TB/s, 990 TFLOP/s at 16 bit, 80 GB); 160 KiB of KV for each token
H100 = of_data_sheet(
    "1 H100, 24B in FP8, vLLM",
    3.35e12,
    990e12,
    80e9,
    parameters=23.6e9,
    weight_bytes=24.5e9,
    kv_bytes=163_840,
)


def seconds_of(machine: Machine, habits: Habits) -> float:
    """Machine seconds per question on a fully loaded machine."""
    read = habits.prompt_tokens * (1 - habits.reused) / machine.prefill
    return read + habits.answer_tokens / machine.decode_all


def wait_of(machine: Machine, habits: Habits) -> tuple[float, float]:
    """Seconds to the first and the last token for a single user."""
    first = habits.prompt_tokens * (1 - habits.reused) / machine.prefill
    return first, first + habits.answer_tokens / machine.decode_one


def table(machine: Machine, habits: Habits, busy: float) -> Iterator[str]:
    first, last = wait_of(machine, habits)
    yield f"{machine.name} ({machine.basis}): reads {machine.prefill:,.0f} and writes {machine.decode_one:,.0f} tokens a second,"
    yield (
        f"{machine.decode_all:,.0f} in all with {machine.together} answers at once; alone, first word after {first:.1f} s, "
        f"whole answer after {last:.0f} s"
    )
    yield ""
    yield "| users | questions an hour | machines | each is busy | answers under way |"
    yield "| ---: | ---: | ---: | ---: | ---: |"
    for users in USERS:
        active = 1.0 if users == 1 else users * habits.active
        per_second = active * habits.questions_per_hour / 3600
        work = per_second * seconds_of(machine, habits)
        machines = max(1, math.ceil(work / busy))
        under_way = per_second * last / machines
        yield f"| {users:,} | {per_second * 3600:,.0f} | {machines:,} | {work / machines:.1%} | {under_way:.1f} |"


# ---------------------------------------------------------------------------------------------- measured


def one(url: str, key: str, prompt_tokens: int, answer_tokens: int) -> tuple[float, float, int, int]:
    """Seconds to the first and the last text; tokens prefilled and generated."""
    words = " ".join(random.choice(("rose", "violet", "tulip", "daisy", "lily")) for _ in range(prompt_tokens))
    body = {
        "model": "default",
        "messages": [{"role": "user", "content": f"{random.random()} {words}\nGo on."}],
        "max_tokens": answer_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    begin, first, last, usage = time.perf_counter(), 0.0, 0.0, {}
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.stream("POST", f"{url}/chat/completions", json=body, headers=headers, timeout=900) as reply:
        reply.raise_for_status()
        for line in reply.iter_lines():
            if not line.startswith("data: {"):
                continue
            chunk = httpx.Response(200, content=line[6:]).json()
            usage = chunk.get("usage") or usage
            if any((choice.get("delta") or {}).get("content") for choice in chunk.get("choices") or ()):
                last = time.perf_counter() - begin
                first = first or last
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return first, last, usage.get("prompt_tokens", 0) - cached, usage.get("completion_tokens", 0)


def measured(url: str, key: str, together: int, prompt_tokens: int) -> Machine:
    alone = [one(url, key, prompt_tokens, 64) for _ in range(3)]
    with ThreadPoolExecutor(together) as pool:
        begin = time.perf_counter()
        crowd = list(pool.map(lambda _: one(url, key, 1, 64), range(together)))
        seconds = time.perf_counter() - begin
    return Machine(
        url,
        statistics.median(read / first for first, _, read, _ in alone),
        statistics.median((wrote - 1) / (last - first) for first, last, _, wrote in alone if last > first),
        sum(wrote for *_, wrote in crowd) / seconds,
        together,
        "measured",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", metavar="URL", help="an address that ends in /v1")
    parser.add_argument("--key", default="")
    parser.add_argument("--together", type=int, default=8, help="answers at once, for --measure")
    parser.add_argument("--prompt", type=int, default=1000, help="tokens of prompt, for --measure")
    parser.add_argument("--busy", type=float, default=0.6, help="share of the time that a machine may be busy")
    args = parser.parse_args()
    habits = Habits()
    print(f"{habits}\nmachines are busy {args.busy:.0%} of the busiest hour at most\n")
    machines = [measured(args.measure, args.key, args.together, args.prompt)] if args.measure else [CPU, H100]
    for machine in machines:
        print("\n".join(table(machine, habits, args.busy)), end="\n\n")


if __name__ == "__main__":
    main()
