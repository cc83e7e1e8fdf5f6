"""4-bit matrices are read, joined and multiplied like bitsandbytes', by kernels that compile for GPUs."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from bitsandbytes import functional as bnb
from bitsandbytes.nn import Linear4bit
from four_bit import layer
from jupyter_mistral.engine.decode.lora import LoraLayer
from jupyter_mistral.engine.fast import nf4
from jupyter_mistral.engine.fast.nf4_plan import ARRIVALS, HALF, Plan, candidates, plan
from safetensors.torch import save

BOTH = pytest.mark.parametrize("is_nested", [False, True], ids=["plain", "nested"])
# Mistral Small 3.1, 24B: rows and columns of what a layer's step reads
SHAPES = {"qkv": (6144, 5120), "o": (5120, 4096), "gate_up": (65536, 5120), "down": (5120, 32768)}


def projections(is_nested: bool, columns: int = 192) -> list[Linear4bit]:
    """As queries, keys and values; rows so that no block of scales ends with a layer."""
    return [layer(rows, columns, is_nested, rows, is_biased=True) for rows in (100, 36, 37)]


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).bfloat16()


def unpacked(one: Linear4bit) -> torch.Tensor:
    """By bitsandbytes, in 32 bit."""
    state = one.weight.quant_state
    kind, state.dtype = state.dtype, torch.float32
    found = bnb.dequantize_4bit(one.weight.data, state)
    state.dtype = kind
    return found


@BOTH
def test_the_numbers_equal_bitsandbytes_to_the_bit(is_nested: bool) -> None:
    one = layer(100, 192, is_nested)
    assert torch.equal(nf4.dequantize(nf4.of(one)), unpacked(one))
    assert torch.equal(nf4.dequantize(nf4.of(one.weight), slice(30, 50)), unpacked(one)[30:50])


@BOTH
def test_the_reference_equals_bitsandbytes_except_for_rounding(is_nested: bool) -> None:
    one, x = layer(4100, 192, is_nested, is_biased=True), random(3, 192)
    found, theirs = nf4.linear(x, nf4.of(one), one.bias).double(), one(x).double()
    exact = x.double() @ unpacked(one).double().T + one.bias.double()
    # theirs rounds each weight to bfloat16 first; ours rounds the result alone
    assert bool(((found - exact).abs() <= 1.01 * 2**-8 * exact.abs() + 1e-6 * exact.abs().max()).all())
    assert float((theirs - exact).norm() / exact.norm()) < 5e-3


@BOTH
def test_joined_layers_share_their_bytes_and_compute_the_same_bits(is_nested: bool) -> None:
    layers, x = projections(is_nested), random(3, 192)
    before, states = [one(x) for one in layers], [dict(one.state_dict()) for one in layers]
    numbers = torch.cat([unpacked(one) for one in layers])
    joined = nf4.fuse(layers)
    assert joined.is_of(layers) and not joined.is_of(layers[1:])
    places = [one.weight.data_ptr() - joined.packed.data_ptr() for one in layers]
    assert places == [0, 100 * 96, 136 * 96]
    memory = {joined.packed.untyped_storage().data_ptr()}
    assert {one.weight.untyped_storage().data_ptr() for one in layers} == memory, "a second copy"
    scales = joined.scales.codes if isinstance(joined.scales, nf4.Nested) else joined.scales.absmax
    theirs = {one.weight.quant_state.absmax.untyped_storage().data_ptr() for one in layers}
    assert theirs == {scales.untyped_storage().data_ptr()}, "a second copy"
    assert torch.equal(nf4.dequantize(joined), numbers)
    for one, result, state in zip(layers, before, states, strict=True):
        assert torch.equal(one(x), result)
        after = one.state_dict()
        assert after.keys() == state.keys() and all(torch.equal(after[key], state[key]) for key in state)
        assert save(after)


@BOTH
def test_weights_saved_by_bitsandbytes_are_read(is_nested: bool) -> None:
    layers = projections(is_nested)
    joined = nf4.fuse(layers)
    layers[1].weight.data[:] = 0x77  # all zeros, in nf4
    numbers = nf4.dequantize(joined)
    assert not bool(numbers[100:136].any()) and bool(numbers[:100].any()) and bool(numbers[136:].any())


@BOTH
def test_layers_that_were_moved_are_joined_again(is_nested: bool) -> None:
    layers, x = projections(is_nested), random(2, 192)
    before, first = [one(x) for one in layers], nf4.fuse(layers)
    for one in layers:  # as `Placement` moves them
        one.weight.data = one.weight.data.clone()
        one.weight.quant_state.absmax = one.weight.quant_state.absmax.clone()
    assert not first.is_of(layers)
    second = nf4.fuse(layers)
    assert second.is_of(layers) and torch.equal(nf4.dequantize(second), nf4.dequantize(first))
    assert all(torch.equal(one(x), result) for one, result in zip(layers, before, strict=True))


def test_an_adapter_on_a_joined_layer_gives_the_same_bits() -> None:
    layers, x = projections(True), random(2, 192)
    adapted = LoraLayer(layers[1])
    adapted.pairs["mine"], adapted.used = (random(4, 192), random(36, 4), 0.5), "mine"
    before = adapted(x)
    nf4.fuse(layers)
    assert torch.equal(adapted(x), before)
    assert not torch.equal(before, layers[1](x))


def test_a_single_layer_is_not_copied() -> None:
    one = layer(100, 192, True)
    place = one.weight.data_ptr()
    assert nf4.fuse([one]).packed.data_ptr() == one.weight.data_ptr() == place


def misfits() -> Iterator[tuple[str, list[torch.nn.Module]]]:
    repacked, wide, fp4 = layer(32, 128, False), layer(32, 128, False), layer(32, 128, False)
    repacked.weight.quant_state.packing_format_for_cpu = True
    wide.weight.quant_state.blocksize = 128
    fp4.weight.quant_state.quant_type = "fp4"
    yield "repacked", [repacked]
    yield "not 4-bit", [torch.nn.Linear(64, 64)]
    yield "each scale covers 128", [wide]
    yield "not nf4", [fp4]
    yield "not 64 of one row", [layer(64, 96, False)]
    yield "different sizes", [layer(32, 128, False), layer(32, 64, False)]
    yield "different ways", [layer(32, 128, False), layer(32, 128, True)]


@pytest.mark.parametrize(("reason", "layers"), list(misfits()), ids=lambda part: part if isinstance(part, str) else "")
def test_other_weights_are_refused_with_a_reason_and_unchanged(reason: str, layers: list[torch.nn.Module]) -> None:
    places = [one.weight.data_ptr() for one in layers]
    with pytest.raises(nf4.Unfit, match=reason):
        nf4.fuse(layers)
    assert [one.weight.data_ptr() for one in layers] == places


# ---------------------------------------------------------------------------------------------- kernels


def run_ptx(text: str, word: int) -> list[int]:
    """The few instructions that the decoder is made of, as NVIDIA's manual defines them; its four results."""
    registers = {"$4": word}

    def value(name: str) -> int:
        return int(name, 16) if name.startswith("0x") else int(name) if name.isdigit() else registers[name]

    for line in text.replace("{ ", "").splitlines():
        code, _, rest = line.split(";")[0].partition(" ")
        if code in ("}", ".reg"):
            continue
        target, *names = [name.strip() for name in rest.split(",")]
        given = [value(name) for name in names]
        if code == "and.b32":
            found = given[0] & given[1]
        elif code == "shr.u32":
            found = given[0] >> given[1]
        elif code == "lop3.b32":
            rows = [given[3] >> at & 1 for at in range(8)]
            bits = [(given[0] >> bit & 1) << 2 | (given[1] >> bit & 1) << 1 | given[2] >> bit & 1 for bit in range(32)]
            found = sum(rows[key] << bit for bit, key in enumerate(bits))
        else:
            assert code == "prmt.b32", code
            pool = (given[0] | given[1] << 32).to_bytes(8, "little")
            fields = [given[2] >> 4 * at & 15 for at in range(4)]
            parts = [255 * (pool[f & 7] >> 7) if f & 8 else pool[f & 7] for f in fields]
            found = int.from_bytes(bytes(parts), "little")
        registers[target] = found
    return [registers[f"${at}"] for at in range(4)]


def test_the_decoder_by_bytes_looks_up_the_table() -> None:
    from jupyter_mistral.engine.fast import nf4_triton

    bits = [number & 0xFFFF for number in nf4_triton.VALUES.view(torch.int16).tolist()]
    generator = torch.Generator().manual_seed(0)
    words = torch.randint(0, 256, (500, 4), generator=generator).tolist() + [[b, 255 - b, b, b] for b in range(256)]
    for four in words:
        found = run_ptx(nf4_triton.DECODER.value, int.from_bytes(bytes(four), "little"))
        upper, lower = [bits[byte >> 4] for byte in four], [bits[byte & 15] for byte in four]
        expected = [low | high << 16 for part in (upper, lower) for low, high in (part[:2], part[2:])]
        assert found == expected


def test_the_scaled_table_is_closer_than_plain_bfloat16() -> None:
    from jupyter_mistral.engine.fast import nf4_triton

    table = torch.tensor(nf4.TABLE, dtype=torch.float64)
    stretched, plain = nf4_triton.VALUES.double() / nf4_triton.STRETCH, table.bfloat16().double()
    assert torch.equal(stretched == 0, table == 0)
    assert float((stretched - table).norm()) < 0.7 * float((plain - table).norm())


@pytest.mark.parametrize("name", SHAPES)
def test_a_24b_models_plans_read_each_column_once(name: str) -> None:
    rows, columns = SHAPES[name]
    for cut in candidates(rows, columns):
        per, groups = cut.per(columns), columns // 64
        assert per % cut.groups == 0 and per * cut.splits >= groups > per * (cut.splits - 1)
        assert cut.tiles(rows) * cut.halves * HALF >= rows > (cut.tiles(rows) - 1) * cut.halves * HALF
        assert cut.splits == 1 or cut.tiles(rows) <= ARRIVALS
        loaded = cut.groups * (cut.halves * HALF * 32 + 16 * 128)  # of weights, and of 16 tokens
        assert (cut.stages - 1) * loaded <= 99 * 1024, "a program of a 4090 has 99 KiB of shared memory"
    chosen = plan(rows, columns)
    assert chosen == candidates(rows, columns)[0] and chosen.tiles(rows) * chosen.splits >= 600


@pytest.mark.parametrize("columns", [64, 576, 896, 1088, 5120])
def test_no_plan_leaves_a_program_without_work(columns: int) -> None:
    assert all(cut.is_fit(rows, columns) for rows in (1, 64, 1000) for cut in candidates(rows, columns))


@BOTH
def test_the_fastest_plan_is_kept_for_the_shape(is_nested: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Times come from a stand-in. Matrices of the shape that store their scales the other way keep theirs."""
    from jupyter_mistral.engine.fast import nf4_plan, nf4_triton

    monkeypatch.setattr(nf4_plan, "_tuned", {})
    weights, cuts, tried = [of_size(6144, 5120, is_nested) for _ in range(3)], candidates(6144, 5120), []

    def timed(given: Sequence[nf4.Nf4], cut: Plan) -> float:
        assert [id(one) for one in given] == [id(one) for one in weights]
        tried.append(cut)
        if cut.stages == 6:
            raise nf4_triton.OutOfResources(128, 64, "shared memory")
        return 2.0 if cut == cuts[2] else 3.0 + len(tried)

    assert nf4_triton.tune(weights[0], weights[1:], timed=timed) == cuts[2] != cuts[0]
    assert tried == cuts and any(cut.stages == 6 for cut in cuts)
    assert plan(6144, 5120, is_nested) == cuts[2] and plan(6144, 5120, not is_nested) == cuts[0]


def test_no_cut_is_tried_after_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    from jupyter_mistral.engine.fast import nf4_plan, nf4_triton

    monkeypatch.setattr(nf4_plan, "_tuned", {})
    tried, weight, end = [], of_size(6144, 5120, True), time.monotonic() + 0.05

    def timed(given: Sequence[nf4.Nf4], cut: Plan) -> float:
        tried.append(cut)
        time.sleep(0.06)
        return 1.0 / len(tried)

    cuts = candidates(6144, 5120)
    assert nf4_triton.tune(weight, (), end, timed) == cuts[0] and tried == cuts[:1]
    assert nf4_triton.tune(weight, (), end, timed) == cuts[0] and tried == cuts[:1]
    assert nf4_triton.tune(weight, (), math.inf, timed) == cuts[-1], "without an end all are tried"


def of_size(rows: int, columns: int, is_nested: bool) -> nf4.Nf4:
    """Without contents."""
    groups = columns // 64

    def some(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    codes, starts = some(rows, groups, dtype=torch.uint8), some(rows, dtype=torch.int32)
    nested = nf4.Nested(codes, some(256), some(rows * groups // 256), starts, some(rows))
    scales = nested if is_nested else nf4.Plain(some(rows, groups))
    return nf4.Nf4(some(rows, columns // 2, dtype=torch.uint8), scales, some(16), rows, columns)


@pytest.mark.parametrize(("is_nested", "billions"), [(False, 12.50), (True, 11.47)])
def test_bytes_of_a_24b_models_step(is_nested: bool, billions: float) -> None:
    from jupyter_mistral.engine.fast import nf4_triton

    total = sum(40 * nf4_triton.bytes_read(of_size(*shape, is_nested)) for shape in SHAPES.values())
    assert total / 1e9 == pytest.approx(billions, rel=3e-3)


@pytest.mark.parametrize(("capability", "tokens", "is_nested", "splits"), [(80, 8, True, 1), (90, 16, False, 8)])
def test_the_kernel_compiles_for_gpus_and_leaves_numbers_where_they_are(
    capability: int, tokens: int, is_nested: bool, splits: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import triton
    from jupyter_mistral.engine.fast import nf4_triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    pointers = dict.fromkeys(("ABSMAX", "CODES", "CODE", "OFFSETS", "PARTS"), "*fp32")
    pointers |= dict.fromkeys(("VALUES", "BIAS", "OUT"), "*bf16") | {"X": "*i32", "PACKED": "*u8", "ARRIVED": "*i32"}
    pointers |= {"CODES": "*u8", "STARTS": "*i32"} if is_nested else {"STARTS": "*fp32"}
    numbers = dict.fromkeys(("m", "rows", "pairs", "per"), "i32") | {"shrink": "fp32"}
    fixed = {
        "SPLITS": splits, "HALVES": 2, "GROUPS": 2, "EVEN": True, "TOKENS": tokens, "IS_NESTED": is_nested,
        "BIASED": True, "BY_BYTES": True, "INTERPRETED": False,
    }  # fmt: skip
    names = nf4_triton._nf4.arg_names
    kinds = {name: ({**pointers, **numbers}.get(name) or "constexpr") for name in names}
    whole = {
        (at,): [["tt.divisibility", 16]]
        for at, name in enumerate(names)
        if name in pointers or name in ("rows", "pairs")
    }
    source = ASTSource(nf4_triton._nf4, kinds, fixed, whole)
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": 2, "num_stages": 4})
    assert made.asm["cubin"]
    code = made.asm["ttgir"]
    loop = code[code.index("scf.for") : code.index("scf.yield")]
    assert "elementwise_inline_asm" in loop and "tt.dot" in loop
    assert "convert_layout" not in loop, "numbers change places between threads in each turn"
    copies = re.findall(r"async_copy_global_to_local[^\n]*contiguity = (\d+)", loop)
    assert copies and "16" in copies, "weights are not loaded 16 bytes at a time"
