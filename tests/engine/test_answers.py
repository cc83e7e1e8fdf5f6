"""A loaded model answers with the same tokens as transformers' own loop; limits, stop strings, JSON and cancelling work."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_talker
import torch
from effort import first
from engine_host import Host
from jupyter_mistral.engine.decode.sampling import Sampler
from jupyter_mistral.engine.text.output_stream import Stops
from jupyter_mistral.protocol.requests import Sampling

CELL = """def mean(values):
    total = 0
    for value in values:
        total = total + value
    return total / len(values)


def variance(values):
    middle = mean(values)
    total = 0
    for value in values:
        total = total + (value - middle) ** 2
    return total / len(values)
"""


def reference(folder: Path) -> Callable[[str, int], str]:
    """`generate` of transformers on the same weights, the slow reference."""
    from jupyter_mistral.engine.kv import attention
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    attention.register()
    model.config._attn_implementation = attention.NAME

    def generate(question: str, tokens: int) -> str:
        messages = [{"role": "user", "content": question}]
        given = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        with torch.inference_mode():
            ids = model.generate(**given, max_new_tokens=tokens, do_sample=False, pad_token_id=2)[0]
        return str(tokenizer.decode(ids[given["input_ids"].shape[1] :], skip_special_tokens=True))

    return generate


QUESTIONS = [
    "What is a list comprehension?",
    "Explain this cell:\n```python\n" + CELL + "```",
    "Rewrite this cell with the name `numbers` for `values`:\n```python\n" + CELL * 3 + "```",
    "اكتب جملة قصيرة. 短い文を書いて。 🙂",
]


def test_greedy_answers_equal_those_of_generate(host: Host, talker: Path) -> None:
    want = reference(talker)
    for question in QUESTIONS:
        assert host.ask(question, sampling={"max_tokens": 64})["text"] == want(question, 64)


@pytest.mark.parametrize(("question", "tokens"), first(1, [(QUESTIONS[0], 24), *((each, 64) for each in QUESTIONS)]))
def test_greedy_answers_of_a_real_model_equal_those_of_generate(
    real_host: Host, small: Path, question: str, tokens: int
) -> None:
    assert real_host.ask(question, sampling={"max_tokens": tokens})["text"] == reference(small)(question, tokens)


def test_usage_is_exact(host: Host) -> None:
    question = "Count to three. " * 30
    rendered = host.send("render", messages=[{"role": "user", "content": [question]}])
    tokens = host.finish(rendered)["tokens"]
    usage = host.ask(question, sampling={"max_tokens": 7, "seed": 5})["usage"]
    assert usage["prompt_tokens"] == tokens and usage["completion_tokens"] == 7
    assert usage["model"] == "test" and usage["quantization"] == "nf4" and usage["seed"] == 5
    assert 0 < usage["time_to_first_token_s"] <= usage["seconds"]
    assert usage["tokens_per_second"] > 0 and usage["prefill_tokens_per_second"] > 0
    assert usage["context_length"] == tiny_talker.WINDOW


def test_prefill_progress_is_reported_for_each_chunk(host: Host) -> None:
    end = host.ask("one two three four five six seven eight nine ten " * 150)
    steps = [(reading["done"], reading["total"]) for reading in end["readings"]]
    assert len(steps) >= 4 and steps == sorted(steps)
    assert steps[-1][0] == steps[-1][1] == end["usage"]["prompt_tokens"]
    assert end["readings"][-1]["eta_s"] == 0


def test_the_token_limit_ends_an_answer_with_reason_length(host: Host) -> None:
    end = host.ask("Tell me a long story.", sampling={"max_tokens": 5})
    assert end["reason"] == "length" and end["usage"]["completion_tokens"] == 5


def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers(host: Host) -> None:
    failed = host.ask("word " * 17_000)
    assert failed["failure"]["code"] == "context_too_long"
    assert "the model's context is 16,384 tokens" in failed["failure"]["message"]
    assert host.ask("Hi.")["type"] == "end"


def test_an_unknown_setting_is_named(host: Host) -> None:
    assert "tempo" in host.ask("Hi.", sampling={"tempo": 1})["failure"]["message"]


# ---------------------------------------------------------------------------------------------- sampling


def test_a_seed_repeats_an_answer_and_a_random_seed_is_reported(host: Host) -> None:
    warm = {"temperature": 1.0, "max_tokens": 24}
    first = host.ask("Tell me about the sea.", sampling=warm)
    again = host.ask("Tell me about the sea.", sampling=warm | {"seed": first["usage"]["seed"]})
    other = host.ask("Tell me about the sea.", sampling=warm | {"seed": 1})
    assert first["text"] == again["text"] != other["text"]


SCORES = torch.tensor([1.0, 3.0, 2.0, 3.0, -1.0])


def _drawn(**how: float) -> set[int]:
    sampler = Sampler(Sampling(seed=1, **{"temperature": 1.0, **how}), torch.device("cpu"))  # type: ignore[arg-type]
    return {sampler.sample(SCORES) for _ in range(300)}


@pytest.mark.parametrize("temperature", [5e-324, 1e-166, 1e-38, 1e-6])
def test_a_tiny_temperature_is_as_certain_as_zero(temperature: float) -> None:
    sampler = Sampler(Sampling(seed=1, temperature=temperature), torch.device("cpu"))
    scores = torch.tensor([1.0, 40.0, -torch.inf, 39.5])
    assert {sampler.sample(scores) for _ in range(20)} == {1}
    assert {sampler.verify(scores, 3) for _ in range(20)} == {1}


def test_each_sampling_filter_keeps_the_right_tokens() -> None:
    assert _drawn(temperature=0.0) == {1}
    assert _drawn(temperature=2.0) == {0, 1, 2, 3, 4}
    assert _drawn(top_k=2) == {1, 3} and len(_drawn(top_k=1)) == 1
    assert len(_drawn(top_p=0.0)) == 1 and _drawn(top_p=0.7) == {1, 3} and _drawn(top_p=0.9) == {1, 2, 3}
    assert _drawn(min_p=0.3) == {1, 2, 3} and _drawn(min_p=1.0) == {1, 3}


def test_penalties_prevent_repetition() -> None:
    for how in ({"frequency_penalty": 2.0}, {"presence_penalty": 2.0}):
        sampler = Sampler(Sampling(temperature=0.0, **how), torch.device("cpu"))
        assert [sampler.sample(SCORES) for _ in range(3)] == [1, 3, 2]
    assert [sampler.sample(SCORES, torch.tensor([True, False, False, False, True]))] == [0]


# ---------------------------------------------------------------------------------------------- stop


def test_a_stop_string_ends_the_answer_and_is_never_shown(host: Host) -> None:
    whole = host.ask("What is a list comprehension?", sampling={"max_tokens": 40})["text"]
    stop = whole[30:37]  # lies across tokens
    identity = host.send(
        "generate",
        messages=[{"role": "user", "content": ["What is a list comprehension?"]}],
        sampling={"temperature": 0.0, "max_tokens": 40, "stop": [stop, "never"]},
    )
    end = host.finish(identity)
    assert end["reason"] == "stop" and end["text"] == whole[: whole.index(stop)]


def test_held_back_text_is_sent_if_no_stop_string_follows() -> None:
    stops = Stops(("END", "E!"))
    shown = [stops.add(text) for text in ("ab", "cE", "N", "x", "E")]
    assert shown == ["ab", "c", "", "ENx", ""] and stops.finish("") == "E" and not stops.is_met
    stops = Stops(("END",))
    assert [stops.add(text) for text in ("xE", "N", "D and more")] == ["x", "", ""] and stops.is_met
    assert stops.finish("tail") == ""


# ---------------------------------------------------------------------------------------------- JSON

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 2},
        "kind": {"enum": ["cat", "dog"]},
    },
    "required": ["name", "age", "tags", "kind"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("temperature", "tokens"), [*((0.0, n) for n in (1, 2, 5, 13, 40, 200)), *((1.5, n) for n in (3, 8, 40))]
)
def test_json_is_complete_at_any_token_limit(host: Host, temperature: float, tokens: int) -> None:
    for schema in (None, PERSON):
        end = host.ask(
            "Describe a person as JSON.",
            sampling={"temperature": temperature, "max_tokens": tokens, "seed": tokens},
            form={"kind": "json", "schema": schema},
        )
        value = json.loads(end["text"])
        if schema:
            assert set(value) == set(PERSON["required"]) and len(value["tags"]) >= 2 and value["kind"] in ("cat", "dog")
        assert end["usage"]["completion_tokens"] <= tokens + 512


def test_a_number_may_have_more_than_one_digit(host: Host) -> None:
    end = host.ask(
        "What is 20 + 22?", form={"kind": "json", "schema": {"type": "integer", "minimum": 10, "maximum": 99}}
    )
    assert 10 <= json.loads(end["text"]) <= 99 and end["reason"] == "stop"


@pytest.mark.parametrize(
    "schema", [{"type": "nonsense"}, {"$ref": "#/nowhere"}, {"pattern": "("}, {"x" * 300_000: True}]
)
def test_a_bad_schema_is_refused_and_the_next_request_works(host: Host, schema: dict[str, object]) -> None:
    failed = host.ask("Hi.", form={"kind": "json", "schema": schema})
    assert failed["type"] == "error" and failed["failure"]["code"] == "bad_request", failed
    assert host.ask("Hi.")["type"] == "end"


# ---------------------------------------------------------------------------------------------- cancel


def test_cancelling_during_prefill_keeps_the_finished_chunks(host: Host) -> None:
    messages = [{"role": "user", "content": ["apple pear plum fig " * 3000]}]
    identity = host.send("generate", messages=messages, sampling={"temperature": 0.0, "max_tokens": 4})
    assert next(frame for frame in host.frames() if frame.get("done", 0) > 0)["type"] == "reading"
    host.send("cancel", id=identity)
    end = host.finish(identity)
    assert end["type"] == "end" and end["reason"] == "cancelled" and end["text"] == ""
    again = host.ask("", messages=messages, sampling={"max_tokens": 4})
    assert 0 < again["usage"]["cached_tokens"] < again["usage"]["prompt_tokens"]


def test_cancelling_while_decoding_ends_once_and_frees_the_worker(host: Host) -> None:
    messages = [{"role": "user", "content": ["Tell me a very long story."]}]
    identity = host.send("generate", messages=messages, sampling={"temperature": 1.0, "max_tokens": 4000})
    next(frame for frame in host.frames() if frame["type"] == "delta")
    host.send("cancel", id=identity)
    assert host.finish(identity)["reason"] == "cancelled"
    host.send("cancel", id=identity)  # too late: nothing is answered
    host.send("ping", id="p")
    assert host.next("pong", "end", "error")["type"] == "pong"
    assert host.ask("Hi.")["usage"]["seconds"] < 60


def test_a_waiting_request_can_be_cancelled_before_it_starts(host: Host) -> None:
    messages = [{"role": "user", "content": ["Tell me a very long story."]}]
    first = host.send("generate", messages=messages, sampling={"temperature": 1.0, "max_tokens": 200})
    second = host.send("generate", messages=messages, sampling={"temperature": 1.0, "max_tokens": 200})
    host.send("cancel", id=second)
    host.send("cancel", id=first)
    assert host.finish(first)["reason"] == "cancelled"
    end = host.finish(second)
    assert end["reason"] == "cancelled" and end["usage"]["completion_tokens"] == 0 and end["readings"] == []


def test_counting_does_not_wait_for_an_answer(host: Host) -> None:
    messages = [{"role": "user", "content": ["Tell me a very long story."]}]
    identity = host.send("generate", messages=messages, sampling={"temperature": 1.0, "max_tokens": 4000})
    next(frame for frame in host.frames() if frame["type"] == "delta")
    host.send("count", id="c", texts=["a", "", "import numpy as np"])
    counts = next(frame for frame in host.frames() if frame["type"] in ("counts", "end"))
    assert counts["type"] == "counts" and counts["counts"][:2] == [1, 0]
    host.send("cancel", id=identity)
    host.finish(identity)
