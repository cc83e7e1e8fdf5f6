"""GPU figures: the device is found by UUID, missing values are omitted, and energy is divided among the requests."""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_llama
import torch
from engine_host import Host
from jupyter_mistral.engine.decode.decoder import Decoder
from jupyter_mistral.engine.decode.row import Need
from jupyter_mistral.engine.device import gpu
from jupyter_mistral.engine.prompt import Prompt
from jupyter_mistral.engine.requests.answer import AnswerEvents, Finish
from jupyter_mistral.engine.requests.energy import Meter
from jupyter_mistral.engine.requests.schedule import Request, Schedule
from jupyter_mistral.protocol.events import Usage
from jupyter_mistral.protocol.failures import Failure
from jupyter_mistral.protocol.status import Memory

FAKE = Path(__file__).parent / "fake_nvml"
GB = 10**9
ONE, TWO, SLICE = "GPU-1", "GPU-2", "MIG-3"
FIGURES: dict[str, Any] = {
    "driver": True,
    "uuids": [ONE, TWO],
    "slices": [SLICE],
    "name": "NVIDIA L4",
    "power_mw": 31_540,
    "temperature": 48,
    "used": {ONE: 2 * GB, TWO: 3 * GB, SLICE: 3 * GB},
    "processes": [],
    "energy_mj": 7,
}
MEMORY = Memory("cuda", weights=5 * GB, kv=GB, free=9 * GB, total=24 * GB)

Setup = Callable[..., None]


@pytest.fixture
def tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Setup]:
    """Replaces NVIDIA's library by a fake one with the given values; None for what it does not support."""
    file = tmp_path / "nvml.json"
    monkeypatch.setenv("FAKE_NVML", str(file))
    monkeypatch.syspath_prepend(str(FAKE))
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)

    def write(**told: Any) -> None:
        file.write_text(json.dumps({k: v for k, v in {**FIGURES, **told}.items() if v is not None}))

    write()
    yield write
    sys.modules.pop("pynvml", None)


def _found(uuid: str = "2", begin: Callable[[], None] = lambda: None) -> gpu.Gpu:
    def begins() -> tuple[str, int]:
        begin()
        return uuid, 0

    found = gpu.find(begins)
    assert found is not None
    return found


# ---------------------------------------------------------------------------------------------- figures


def test_the_device_is_the_one_torch_uses_whatever_its_index(tell: Setup) -> None:
    """CUDA_VISIBLE_DEVICES=1 makes the second GPU torch's number 0."""
    assert _found("2").name == "NVIDIA L4 GPU-2"
    assert _found("3").name == "NVIDIA L4 MIG-3"
    assert gpu.find(lambda: ("4", 0)) is None


def test_name_power_and_temperature_are_reported_with_the_bytes(tell: Setup) -> None:
    told = _found().add_to(MEMORY, 0)
    assert (told.gpu, told.power_w, told.temperature_c) == ("NVIDIA L4 GPU-2", 31.5, 48)
    assert replace(told, others=None, gpu="", power_w=None, temperature_c=None) == MEMORY


def test_memory_of_others_is_used_memory_minus_ours(tell: Setup) -> None:
    tell(used={ONE: 0, TWO: 10 * GB}, processes=[[1, GB], [os.getpid(), 7 * GB]])
    assert _found().add_to(MEMORY, 6 * GB).others == 3 * GB


def test_our_memory_is_known_in_a_container_that_hides_pids(tell: Setup) -> None:
    """CUDA's own memory was measured when its context was created."""
    for hidden in ([], [[1, 4 * GB]], [[os.getpid(), None]], None):
        tell()
        found = _found(begin=lambda: tell(used={ONE: 2 * GB, TWO: int(3.5 * GB)}))
        tell(used={TWO: 12 * GB}, processes=hidden)
        assert found.add_to(MEMORY, 6 * GB).others == 12 * GB - 6 * GB - GB // 2


@pytest.mark.parametrize("missing", ["used", "power_mw", "temperature", "energy_mj"])
def test_a_value_that_a_device_does_not_support_is_omitted(tell: Setup, missing: str) -> None:
    tell(**{missing: None})
    found = _found()
    told = found.add_to(MEMORY, 0)
    figures = {
        "used": told.others,
        "power_mw": told.power_w,
        "temperature": told.temperature_c,
        "energy_mj": found.energy_mj(),
    }
    assert [name for name, figure in figures.items() if figure is None] == [missing]


def test_without_a_driver_or_the_library_there_is_no_gpu(tell: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []

    def begin() -> tuple[str, int]:
        begun.append("context")
        return "2", 0

    tell(driver=None)
    assert gpu.find(begin) is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu.find(begin) is None and not begun, "a context costs memory"


def test_a_worker_on_the_cpu_reports_no_gpu_figures(tiny: Path, tmp_path: Path) -> None:
    file = tmp_path / "nvml.json"
    file.write_text(json.dumps(FIGURES))
    path = os.pathsep.join(filter(None, (str(FAKE), os.environ.get("PYTHONPATH"))))
    host = Host(tmp_path, PYTHONPATH=path, FAKE_NVML=str(file))
    loaded = host.load(tiny)
    assert loaded["type"] == "ready", loaded
    assert host.ask("word", sampling={"max_tokens": 4})["usage"]["energy_j"] is None
    host.send("look")
    told = host.next("memory")
    assert (told["others"], told["gpu"], told["power_w"], told["temperature_c"]) == (None, "", None, None)
    assert told["weights"] == loaded["memory"]["weights"] and told["total"] > 0
    assert not file.with_suffix(".asked").exists()
    assert host.close() == 0


def test_memory_is_measured_while_a_worker_answers(tiny: Path, tmp_path: Path) -> None:
    host = Host(tmp_path)
    look = host.send("look")
    assert host.next("looked", "error")["failure"]["code"] == "engine_stopped"
    assert host.load(tiny)["type"] == "ready"
    messages = [{"role": "user", "content": ["word"]}]
    host.send("generate", messages=messages, sampling={"temperature": 1.0, "seed": 1, "max_tokens": 400})
    host.next("delta")
    again = host.send("look")
    assert host.next("memory")["kv"] > 0
    assert host.next("looked", "end")["id"] == again != look
    assert host.close() == 0


# ---------------------------------------------------------------------------------------------- energy


class Scale:
    """A counter and a clock that stand still until they are moved."""

    def __init__(self) -> None:
        self.energy: int | None = 1000
        self.now = 0.0

    def meter(self) -> Meter:
        return Meter(lambda: self.energy, lambda: self.now)

    def use(self, energy: int, seconds: float = 1.0) -> None:
        assert self.energy is not None
        self.energy += energy
        self.now += seconds


def test_one_request_gets_all_energy_between_its_first_and_last_forward() -> None:
    scale = Scale()
    meter = scale.meter()
    for spent in (500, 70):
        scale.use(9999)  # nobody's
        meter.begin("a")
        scale.use(spent)
        meter.note({"a": 1})
        meter.begin("a")
        scale.use(3)  # between two forwards
        meter.note({"a": 1})
        assert meter.end("a") == (spent + 3) / 1000


def test_requests_share_a_forwards_energy_by_tokens() -> None:
    scale = Scale()
    meter = scale.meter()
    meter.begin("reads")
    meter.begin("writes")
    scale.use(1000)
    meter.note({"reads": 99, "writes": 1})
    assert (meter.end("reads"), meter.end("writes")) == (0.99, 0.01)


def test_a_later_request_is_not_charged_for_earlier_energy() -> None:
    scale = Scale()
    meter = scale.meter()
    meter.begin("early")
    scale.use(40, seconds=0.0)
    meter.note({"early": 1})
    meter.begin("late")
    scale.use(10)
    meter.note({"early": 1, "late": 1})
    assert (meter.end("late"), meter.end("early")) == (0.005, 0.045)


def test_a_slow_counter_is_divided_over_all_forwards_since() -> None:
    scale = Scale()
    meter = scale.meter()
    meter.begin("a")
    meter.begin("b")
    for who in "aaab":
        scale.now += 1
        meter.note({who: 1})
    scale.use(400)
    meter.note({})
    assert (meter.end("a"), meter.end("b")) == (0.3, 0.1)


def test_the_shares_add_up_to_the_counter_to_the_millijoule() -> None:
    chance, scale = random.Random(1), Scale()
    meter, active, paid = scale.meter(), [], 0.0
    start = scale.energy
    for step in range(500):
        if (len(active) < 5 and chance.random() < 0.2) or not active:
            active.append(step)
        for who in active:
            meter.begin(who)
        shared = chance.sample(active, chance.randint(1, len(active)))
        scale.use(chance.choice([0, 0, 1, 7, 12345]), seconds=chance.random() / 5)
        meter.note({who: chance.choice([1, 1, 3, 256]) for who in shared})
        if len(active) > 1 and chance.random() < 0.2:
            paid += meter.end(active.pop(0)) or 0.0
    paid += sum(meter.end(who) or 0.0 for who in active)
    assert start is not None and scale.energy is not None
    assert round(paid * 1000) == scale.energy - start


def test_a_counter_that_fails_gives_no_figure_rather_than_a_wrong_one() -> None:
    scale = Scale()
    meter = scale.meter()
    meter.begin("a")
    scale.use(40)
    meter.note({"a": 1})
    scale.energy = None
    assert meter.end("a") is None
    scale.energy = 5000
    meter.begin("b")
    scale.use(40)
    meter.note({"b": 1})
    assert meter.end("b") is None and meter.end("never began") is None


class Counted(Decoder):
    """A decoder whose every forward costs a joule."""

    spent = 0

    def forward(self, needs: Sequence[Need]) -> list[torch.Tensor]:
        self.spent += 1000
        return super().forward(needs)


def _answer(decoder: Decoder, prompt: Prompt, tokens: int, breaks: bool) -> AnswerEvents:
    row = decoder.take(prompt.units, "")
    try:
        yield from row.prefill(prompt, "", tokens, lambda: None)
        for _ in range(tokens):
            yield row.step([5])
        if breaks:
            raise ZeroDivisionError
        yield Finish("stop", Usage(model="m"))
    finally:
        decoder.give_back(row)


def test_concurrent_answers_share_the_energy_of_their_steps() -> None:
    """Through the schedule, with a real model: one of three fails, and the others are not charged for its share."""
    decoder = Counted(tiny_llama.build(), 16, None)
    decoder.warm()
    decoder.spent = 0
    schedule = Schedule(decoder, 4, 10_000, lambda error: Failure("internal", str(error)), Meter(lambda: decoder.spent))
    heard: list[list[Any]] = [[], [], []]
    for n, told in enumerate(heard):
        events = _answer(decoder, Prompt(tiny_llama.ids(20 + 20 * n, n + 2)), 5 + 5 * n, n == 0)
        schedule.add(Request(events, 100, told.append, lambda: None, lambda: False))
    schedule.drain()
    ends = [told[-1] for told in heard]
    assert isinstance(ends[0], Failure)
    energies = [end.usage.energy_j for end in ends[1:]]
    assert all(end.usage.model == "m" for end in ends[1:]) and all(energies)
    assert 0 < decoder.spent / 1000 - sum(energies) < decoder.spent / 2000, "what the first had used"


def test_without_a_counter_the_schedule_reports_no_energy() -> None:
    decoder = Decoder(tiny_llama.build(), 16, None)
    for meter in (None, Meter(lambda: None)):
        told: list[Any] = []
        schedule = Schedule(decoder, 4, 10_000, lambda error: Failure("internal", str(error)), meter)
        events = _answer(decoder, Prompt(tiny_llama.ids(20)), 3, False)
        schedule.add(Request(events, 100, told.append, lambda: None, lambda: False))
        schedule.drain()
        assert isinstance(told[-1], Finish) and told[-1].usage.energy_j is None
