"""Cached prefixes are not computed again and change no bit of the answer; neither does the chunking of a prompt."""

from __future__ import annotations

import contextlib
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_host import Host
from jupyter_mistral.engine.decode.decoder import Decoder
from jupyter_mistral.engine.kv.prefix import BLOCK, PrefixMemory, common_length
from row_driver import Answer, answer

SOURCE = Path(np.__file__).with_name("__init__.py").read_text()[:6000]
CELLS = [f"```python\n{SOURCE[n : n + 500]}\n```" for n in range(0, 5000, 500)]


def notebook(*cells: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": ["\n\n".join(cells)]}]


# ---------------------------------------------------------------------------------------------- the same bits


@pytest.fixture(scope="module", params=["talker", pytest.param("small", marks=pytest.mark.slow)])
def model(request: pytest.FixtureRequest) -> Any:
    from jupyter_mistral.engine.kv import attention
    from transformers import AutoModelForCausalLM

    folder = request.getfixturevalue(request.param)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    attention.register()
    model.config._attn_implementation = attention.NAME
    return model


IDS = [(i * i * 31 + i * 7) % 20000 + 100 for i in range(700)]


@pytest.fixture(scope="module")
def cold(model: Any) -> Answer:
    return answer(Decoder(model, 256, None), IDS)


@pytest.mark.parametrize("chunk", [1000, 512, 100, 37, 7])
def test_every_chunk_size_gives_the_same_bits(model: Any, cold: Answer, chunk: int) -> None:
    tokens, scores, _ = answer(Decoder(model, chunk, None), IDS)
    assert torch.equal(scores, cold[1]) and tokens == cold[0]


@pytest.mark.parametrize("known", [1, 64, 255, 256, 300, 511, 512, 699])
def test_a_reused_prefix_gives_the_same_bits(model: Any, cold: Answer, known: int) -> None:
    decoder = Decoder(model, 256, None)
    answer(decoder, [*IDS[:known], 5, 6, 7])
    tokens, scores, reused = answer(decoder, IDS)
    assert reused == known
    assert torch.equal(scores, cold[1]) and tokens == cold[0]


def test_decoded_tokens_are_reused_with_the_same_bits(model: Any, cold: Answer) -> None:
    longer = IDS + cold[0][:20] + [9, 8, 7]
    decoder = Decoder(model, 256, None)
    answer(decoder, IDS)
    tokens, scores, reused = answer(decoder, longer)
    fresh = answer(Decoder(model, 256, None), longer)
    assert reused == len(IDS) + 20
    assert torch.equal(scores, fresh[1]) and tokens == fresh[0]


def test_prompt_lookup_changes_only_the_speed(model: Any, cold: Answer) -> None:
    assert answer(Decoder(model, 256, None), IDS, lookup=True)[0] == cold[0]
    repeating = (IDS[:50] * 8)[:390]
    decoder = Decoder(model, 256, None)
    plain = answer(decoder, repeating, tokens=60)[0]
    decoder = Decoder(model, 256, None)
    steps = _count_steps(decoder)
    assert answer(decoder, repeating, lookup=True, tokens=60)[0] == plain
    assert steps[0] < 60, "some forwards must have brought more than one token"


def _count_steps(decoder: Decoder) -> list[int]:
    count, forward = [0], decoder.forward

    def counted(needs: Any) -> list[torch.Tensor]:
        count[0] += not needs[0].is_prefill
        return forward(needs)

    decoder.forward = counted  # type: ignore[method-assign]
    return count


def test_plain_attention_would_not_give_the_same_bits(model: Any, cold: Answer) -> None:
    """The control: without our attention function the chunk size shows in the scores."""
    from jupyter_mistral.engine.kv import attention

    model.config._attn_implementation = "sdpa"
    try:
        found = [answer(Decoder(model, chunk, None), IDS)[1] for chunk in (256, 37)]
    finally:
        model.config._attn_implementation = attention.NAME
    assert not torch.equal(*found)


# ---------------------------------------------------------------------------------------------- blocks


def memory(budget: int = 1 << 30, root: str = "model") -> PrefixMemory:
    return PrefixMemory(root, budget, None)


@pytest.mark.threat("T29")
def test_keys_depend_on_all_tokens_before_the_salt_and_the_model() -> None:
    units = np.arange(BLOCK * 3 + 5)
    keys = memory().keys(units, "")
    assert len(keys) == 3 and keys == memory().keys(units[: BLOCK * 3], "")
    changed = units.copy()
    changed[0] += 1
    for other in (memory().keys(changed, ""), memory().keys(units, "ann"), memory(root="else").keys(units, "")):
        assert not set(other) & set(keys)
    changed = units.copy()
    changed[BLOCK * 2] += 1
    assert memory().keys(changed, "")[:2] == keys[:2] and memory().keys(changed, "")[2] != keys[2]


def test_blocks_restore_an_older_sequence_with_the_same_bits(model: Any, cold: Answer) -> None:
    decoder = Decoder(model, 256, memory())
    answer(decoder, IDS)
    answer(decoder, IDS[::-1])
    tokens, scores, reused = answer(decoder, IDS)
    assert reused == (len(IDS) - 1) // BLOCK * BLOCK
    assert torch.equal(scores, cold[1]) and tokens == cold[0]


def test_the_least_recently_used_blocks_are_evicted_first(model: Any) -> None:
    decoder = Decoder(model, 256, None)
    decoder.warm()
    block = decoder._empty.block_bytes
    kept = memory(budget=block * 12)
    decoder = Decoder(model, 256, kept)
    first, second = IDS[:400], IDS[300:]  # 6 blocks each, and the answer's
    answer(decoder, first)
    answer(decoder, second)
    answer(decoder, [7] * 300)
    assert kept.nbytes <= block * 12
    assert kept.count_cached(kept.keys(np.array(second), "")) > kept.count_cached(kept.keys(np.array(first), ""))


def test_common_length_counts_leading_units() -> None:
    assert common_length(np.array([1, 2, 3]), np.array([1, 2, 4, 5])) == 2
    assert common_length(np.array([1, 2]), np.array([1, 2, 3])) == 2
    assert common_length(np.array([], dtype=np.int64), np.array([1])) == 0


# ---------------------------------------------------------------------------------------------- in the worker


def test_a_follow_up_prefills_only_new_tokens(host: Host) -> None:
    first = host.ask("", messages=notebook(*CELLS, "What is imported?"), sampling={"max_tokens": 8})
    assert first["usage"]["cached_tokens"] < 100
    again = host.ask("", messages=notebook(*CELLS, "What is imported?"), sampling={"max_tokens": 8})
    assert again["text"] == first["text"]
    assert again["usage"]["cached_tokens"] == first["usage"]["prompt_tokens"] - 1
    other = host.ask("", messages=notebook(*CELLS, "Which names are exported?"), sampling={"max_tokens": 8})
    assert other["usage"]["prompt_tokens"] - other["usage"]["cached_tokens"] < 30
    assert other["readings"][0]["reused"] == other["usage"]["cached_tokens"]


def test_an_edit_keeps_the_prefix_before_it(host: Host) -> None:
    host.ask("", messages=notebook(*CELLS, "Explain."), sampling={"max_tokens": 4})
    edited = [*CELLS[:5], "edited = True", *CELLS[6:]]
    usage = host.ask("", messages=notebook(*edited, "Explain."), sampling={"max_tokens": 4})["usage"]
    assert 0.4 < usage["cached_tokens"] / usage["prompt_tokens"] < 0.6
    back = host.ask("", messages=notebook(*CELLS, "Explain."), sampling={"max_tokens": 4})["usage"]
    assert back["cached_tokens"] / back["prompt_tokens"] > 0.9, "the version before the edit is remembered too"


@pytest.mark.threat("T29")
def test_users_do_not_share_cached_prefixes(host: Host) -> None:
    for salt in ("ann", "bob"):
        usage = host.ask("", messages=notebook(*CELLS[::-1]), salt=salt, sampling={"max_tokens": 4})["usage"]
        assert usage["cached_tokens"] == 0
        again = host.ask("", messages=notebook(*CELLS[::-1]), salt=salt, sampling={"max_tokens": 4})["usage"]
        assert again["cached_tokens"] == again["prompt_tokens"] - 1
        other = host.ask("", messages=notebook("another"), salt=salt, sampling={"max_tokens": 4})
        assert other["type"] == "end"
    restored = host.ask("", messages=notebook(*CELLS[::-1]), salt="ann", sampling={"max_tokens": 4})["usage"]
    assert restored["cached_tokens"] > 0.9 * restored["prompt_tokens"]


def _load_again(folder: Path, home: Path, **env: str) -> dict[str, Any]:
    host = Host(home, **env)
    assert host.load(folder)["type"] == "ready"
    end = host.ask("", messages=notebook(*CELLS, "What is imported?"), sampling={"max_tokens": 12})
    host.send("shutdown")
    assert host.process.wait(timeout=60) == 0
    host.close()
    return end


@pytest.mark.threat("T29", "T30")
def test_the_memory_survives_a_restart_for_its_owner_only(talker: Path, tmp_path: Path) -> None:
    first = _load_again(talker, tmp_path)
    files = list((tmp_path / "prefix").glob("*/*"))
    assert files and all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files)
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o700 for path in (tmp_path / "prefix").glob("**/"))
    assert not any(b"import" in path.read_bytes()[:4096] for path in files), "no text is stored"
    second = _load_again(talker, tmp_path)
    assert second["usage"]["cached_tokens"] == (first["usage"]["prompt_tokens"] - 1) // BLOCK * BLOCK
    assert second["text"] == first["text"]
    for path in files:  # a flipped bit is noticed, and read again instead
        data = bytearray(path.read_bytes())
        data[-1000] ^= 1
        path.write_bytes(data)
    third = _load_again(talker, tmp_path)
    assert third["text"] == first["text"] and third["usage"]["cached_tokens"] < second["usage"]["cached_tokens"]


def test_the_disk_can_be_switched_off(talker: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert _load_again(talker, tmp_path, JUPYTER_MISTRAL_PREFIX_DISK_MB="0")["usage"]["cached_tokens"] == 0
    assert not (tmp_path / "prefix").exists()


_WRITER = """
import sys, time, torch
from pathlib import Path
from jupyter_mistral.engine.kv.prefix_disk import PrefixDisk
folder = Path(sys.argv[1])
parking = PrefixDisk(folder, 1 << 33)
for n in range(1000):
    parking.write({f"{n}-{i}": torch.full((1 << 24,), n + i, dtype=torch.uint8) for i in range(8)})
    while len(list(folder.glob("*.safetensors"))) <= n:
        time.sleep(0.001)
"""


def test_a_writer_that_is_killed_leaves_only_whole_blocks(tmp_path: Path) -> None:
    """Killed while a file of 134 MB is half written, as a power cut would."""
    from jupyter_mistral.engine.kv.prefix_disk import PrefixDisk

    folder = tmp_path / "prefix" / "model"
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(folder)])
    try:
        while True:
            assert writer.poll() is None
            if list(folder.glob("*.safetensors")) and any(_sizes(folder, "*.partial")):
                writer.send_signal(signal.SIGSTOP)
                if any(_sizes(folder, "*.partial")):  # it has not got its real name meanwhile
                    break
                writer.send_signal(signal.SIGCONT)
    finally:
        writer.kill()
        writer.wait()
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in folder.iterdir())
    assert list(folder.glob("*.partial"))
    parking = PrefixDisk(folder, 1 << 33)
    assert not list(folder.glob("*.partial")), "what was left half is swept up"
    for path in folder.glob("*.safetensors"):
        n = int(path.name.split("-")[0])
        for i in range(8):
            block = parking.read(f"{n}-{i}")
            assert block is not None and (block == n + i).all()
    parking.close()


def _sizes(folder: Path, pattern: str) -> Iterator[int]:
    for path in folder.glob(pattern):
        with contextlib.suppress(FileNotFoundError):  # it has got its real name meanwhile
            yield path.stat().st_size


def test_a_worker_killed_after_an_answer_costs_memory_only(talker: Path, tmp_path: Path) -> None:
    host = Host(tmp_path)
    assert host.load(talker)["type"] == "ready"
    first = host.ask("", messages=notebook(*CELLS, "What is imported?"), sampling={"max_tokens": 12})
    host.process.kill()
    host.close()
    again = _load_again(talker, tmp_path)
    assert again["text"] == first["text"]


def test_the_disk_stays_within_its_limit(model: Any, tmp_path: Path) -> None:
    from jupyter_mistral.engine.kv.prefix_disk import PrefixDisk

    spare = Decoder(model, 256, None)
    spare.warm()
    limit = 27 * spare._empty.block_bytes  # of the 44 blocks that are read
    parking = PrefixDisk(tmp_path / "prefix" / "model", limit)
    decoder = Decoder(model, 256, PrefixMemory("model", 1 << 30, parking))
    for n in range(4):
        answer(decoder, [(i * 31 + n * 777) % 20000 + 100 for i in range(700)], tokens=4)
    parking.close()
    sizes = [path.stat().st_size for path in (tmp_path / "prefix").rglob("*.safetensors")]
    assert 0 < sum(sizes) <= limit and len(sizes) < 4


@pytest.mark.fault("F5")
def test_an_error_in_a_forward_leaves_the_memory_intact(host: Host) -> None:
    want = host.ask("", messages=notebook(*CELLS[:4], "Explain."), sampling={"max_tokens": 12})["text"]
    assert host.ask("x " * 17_000)["type"] == "error"
    assert host.ask("Hi.", form={"kind": "json", "schema": {"type": "nonsense"}})["type"] == "error"
    got = host.ask("", messages=notebook(*CELLS[:4], "Explain."), sampling={"max_tokens": 12})
    assert got["text"] == want and got["usage"]["cached_tokens"] > 0


def test_a_sequence_larger_than_the_budget_keeps_its_start(model: Any) -> None:
    decoder = Decoder(model, 256, None)
    decoder.warm()
    kept = memory(budget=decoder._empty.block_bytes * 4)
    decoder = Decoder(model, 256, kept)
    answer(decoder, IDS)
    assert kept.count_cached(kept.keys(np.array(IDS), "")) == 4


@pytest.mark.fault("F4")
@pytest.mark.parametrize(
    ("error", "is_so"),
    [
        (MemoryError(), True),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"),
            True,
        ),
        # what oneDNN, which multiplies for torch on a CPU, says where it gets none
        (RuntimeError("could not create a primitive"), True),
        (RuntimeError("could not create a memory"), True),
        (RuntimeError("could not create a primitive descriptor for the reorder primitive. Run workload with"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("can't allocate memory"), False),
    ],
)
def test_out_of_memory_errors_are_recognized(error: Exception, is_so: bool) -> None:
    from jupyter_mistral.engine.device.memory import is_out_of_memory

    assert is_out_of_memory(error) is is_so


@pytest.mark.fault("F4", "F5")
def test_running_out_of_memory_fails_one_request_alone(small: Path, tmp_path: Path) -> None:
    """The worker may take 30 MB more than it has: too little for 8,000 tokens, enough for a few."""
    host = Host(tmp_path, JUPYTER_MISTRAL_PREFIX_DISK_MB="0")
    assert host.load(small)["type"] == "ready"
    want = host.ask("Say hello.")["text"]
    status = Path(f"/proc/{host.process.pid}/status").read_text()
    taken = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmSize"))
    resource.prlimit(host.process.pid, resource.RLIMIT_AS, (taken + 30 * 2**20, resource.RLIM_INFINITY))
    failed = host.ask("apple pear plum fig " * 1900)
    assert failed["type"] == "error" and failed["failure"]["code"] == "no_memory", failed
    assert failed["failure"]["todo"]
    assert host.ask("Say hello.")["text"] == want
    assert host.close() == 0
