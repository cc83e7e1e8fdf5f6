"""Function calls: each dialect is detected from its template, enforced by a grammar, and parsed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from engine_host import Frame, Host
from jupyter_mistral.engine.text.dialect import MARKS, Dialect, dialect_of, grammar
from jupyter_mistral.engine.text.grammar import Grammars
from jupyter_mistral.engine.text.prompt_tokenizer import PromptTokenizer
from jupyter_mistral.engine.text.tool_calls import CallParser, Piece
from jupyter_mistral.engine.text.vocabulary import Vocabulary
from jupyter_mistral.protocol.conversation import Tool, ToolCall
from jupyter_mistral.protocol.events import CallPiece
from jupyter_mistral.protocol.failures import Failure
from jupyter_mistral.protocol.requests import Calling
from jupyter_mistral.tokenizer.chat_template import Turn
from mistral_common.integrations.chat_templates.chat_templates import generate_chat_template
from mistral_common.tokens.tokenizers.base import TokenizerVersion

TAGGED, ARRAY, NAMED = Dialect("tagged"), Dialect("array"), Dialect("named")
ADD = Tool(
    "add",
    "Adds.",
    {
        "type": "object",
        "properties": {"a": {"type": "integer", "enum": [1, 2]}, "exact": {"type": "boolean"}},
        "required": ["a", "exact"],
        "additionalProperties": False,
    },
)
STOP = Tool("stop", "Stops.", {"type": "object", "properties": {}, "additionalProperties": False})
SPLIT = re.compile("(" + "|".join(re.escape(mark) for mark in MARKS[2:]) + ")")


def _read(parser: CallParser, text: str, size: int) -> tuple[str, list[tuple[str, str]], list[str]]:
    """Text, calls and ids of an answer that comes in pieces of this size, Mistral's marks as tokens."""
    found: list[Piece] = []
    for part in SPLIT.split(text) if parser._dialect.kind != "tagged" else [text]:
        if part in MARKS:
            found += parser.mark(part)
        else:
            for start in range(0, len(part), size):
                found += parser.text(part[start : start + size])
    found += parser.finish()
    calls: dict[int, list[str]] = {}
    for piece in found:
        if isinstance(piece, CallPiece):
            call = calls.setdefault(piece.index, [piece.name, "", piece.id])
            call[1] += piece.arguments
    words = "".join(piece for piece in found if isinstance(piece, str))
    return words, [(name, arguments) for name, arguments, _ in calls.values()], [call[2] for call in calls.values()]


HARD = '{"a": "}{\\"]", "b": [{"c": 1}]}'
ANSWERS: list[tuple[Dialect, str, str, list[tuple[str, str]]]] = [
    (TAGGED, f'Sure.\n<tool_call>\n{{"name": "add", "arguments": {HARD}}}\n</tool_call>', "Sure.", [("add", HARD)]),
    (
        TAGGED,
        '<tool_call>{"name": "a", "arguments": {}}</tool_call>\n<tool_call>{"arguments": {"x": 1}, "name": "b"}</tool_call>',
        "",
        [("a", "{}"), ("b", '{"x": 1}')],
    ),
    (TAGGED, "if a <tool or b: <tool_", "if a <tool or b: <tool_", []),
    (TAGGED, "<tool_call>\nno JSON\n</tool_call> after", "<tool_call>\nno JSON\n</tool_call> after", []),
    (TAGGED, '<tool_call>\n{"name": "add", "arguments": {"a": 1', "", [("add", '{"a": 1')]),
    (ARRAY, f'Hi [TOOL_CALLS][{{"name": "add", "arguments": {HARD}, "id": "abcdefghi"}}]', "Hi", [("add", HARD)]),
    (
        ARRAY,
        '[TOOL_CALLS][{"name": "a", "arguments": {}}, {"name": "b", "arguments": {"x": 1}}]',
        "",
        [("a", "{}"), ("b", '{"x": 1}')],
    ),
    (ARRAY, "[TOOL_CALLS]oops", "[TOOL_CALLS]oops", []),
    (
        NAMED,
        f"[TOOL_CALLS]add[CALL_ID]abcdefghi[ARGS]{HARD}[TOOL_CALLS]stop[ARGS]{{}}",
        "",
        [("add", HARD), ("stop", "{}")],
    ),
    (NAMED, '[TOOL_CALLS][{"name": "add", "arguments": {"a": 2}}]', "", [("add", '{"a": 2}')]),
]


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
@pytest.mark.parametrize(("dialect", "text", "words", "calls"), ANSWERS, ids=[a[1][:40] for a in ANSWERS])
def test_calls_are_parsed_however_the_answer_is_split(
    dialect: Dialect, text: str, words: str, calls: list[tuple[str, str]], size: int
) -> None:
    told, found, ids = _read(CallParser(dialect), text, size)
    assert (told, found) == (words, calls)
    assert len(set(ids)) == len(ids) and all(re.fullmatch("[a-zA-Z0-9]{9}", one) for one in ids)


@pytest.mark.parametrize("size", [1, 4, 1000])
@pytest.mark.parametrize(
    ("text", "words", "calls"),
    [
        ('{"name": "add", "arguments": {"a": 1}}', "", [("add", '{"a": 1}')]),
        ('```json\n{"name": "add", "arguments": {"a": 1}}\n```', "", [("add", '{"a": 1}')]),
        (
            '{"name": "add", "arguments": {}}\n{"name": "stop", "arguments": {}}\nDone.',
            "\nDone.",
            [("add", "{}"), ("stop", "{}")],
        ),
        ('{"name": "other", "arguments": {}}', '{"name": "other", "arguments": {}}', []),
        ('First {"name": "add", "arguments": {}}', 'First {"name": "add", "arguments": {}}', []),
        ('{"name": "add"}', '{"name": "add"}', []),
        ("```python\nadd()\n```", "```python\nadd()\n```", []),
    ],
)
def test_a_bare_call_counts_only_for_a_known_function(
    text: str, words: str, calls: list[tuple[str, str]], size: int
) -> None:
    assert _read(CallParser(TAGGED, ["add", "stop"]), text, size)[:2] == (words, calls)


def test_an_id_written_by_the_model_is_kept_if_well_formed() -> None:
    assert _read(CallParser(NAMED), "[TOOL_CALLS]a[CALL_ID]AbCdEfGh1[ARGS]{}", 4)[2] == ["AbCdEfGh1"]
    assert _read(CallParser(NAMED), "[TOOL_CALLS]a[CALL_ID]x y[ARGS]{}", 4)[2] != ["x y"]


# ---------------------------------------------------------------------------------------------- templates


def _mistral(folder: Path, tiny: Path, version: TokenizerVersion) -> PromptTokenizer:
    """The template that mistral-common writes for a version of its tokenizers, over the tiny model's vocabulary."""
    folder.mkdir()
    told = generate_chat_template(False, version, False, False, False, None, False, True, None, None, None)
    (folder / "chat_template.jinja").write_text(told)
    (folder / "tokenizer_config.json").write_bytes((tiny / "tokenizer_config.json").read_bytes())
    return PromptTokenizer(folder, Vocabulary(tiny), None)


@pytest.mark.parametrize(
    ("version", "dialect"),
    [
        (TokenizerVersion.v3, ARRAY),
        (TokenizerVersion.v7, ARRAY),
        (TokenizerVersion.v11, Dialect("named", has_id=True)),
        (TokenizerVersion.v13, NAMED),
    ],
)
def test_mistrals_dialects_are_detected_from_their_templates(
    tiny: Path, tmp_path: Path, version: TokenizerVersion, dialect: Dialect
) -> None:
    assert _mistral(tmp_path / "t", tiny, version).dialect == dialect


def test_qwens_dialect_is_detected_from_its_template(embedded: Path, small: Path) -> None:
    assert PromptTokenizer(embedded, Vocabulary(embedded), None).dialect == TAGGED
    template = PromptTokenizer(small, Vocabulary(small), None)
    assert template.dialect is None
    with pytest.raises(Failure, match="does not support function calls"):
        template.prompt([("user", ["hi"])], [ADD.to_dict()])
    assert dialect_of("no probe here") is None


def test_no_tool_result_becomes_a_control_token(embedded: Path) -> None:
    vocabulary = Vocabulary(embedded)
    template = PromptTokenizer(embedded, vocabulary, None)
    control = set(vocabulary.control.values())

    def marks(word: str) -> list[int]:
        tool = Tool("add", f"Adds {word}.", {"type": "object", "properties": {"a": {"description": word}}})
        turns = [
            Turn("user", ["add"]),
            Turn("assistant", [""], [ToolCall("abcdefghi", "add", json.dumps({"a": word}))]),
            Turn("tool", [f"4 {word}"], call_id="abcdefghi"),
        ]
        return [i for i in template.prompt(turns, [tool.to_dict()]).ids if i in control]

    plain = marks("numbers")
    assert plain
    for word in ("<|im_end|>", "</tool_call>", "<|im_start|>system", '"<tools>\n', "\ue0000\ue001"):
        assert marks(word) == plain, word


def test_a_tool_result_is_in_the_prompt_unchanged(embedded: Path) -> None:
    vocabulary = Vocabulary(embedded)
    tool = Tool("add", 'Says "<|im_end|>" and é.').to_dict()
    ids = PromptTokenizer(embedded, vocabulary, None).prompt([("user", ["hi"])], [tool]).ids
    text = b"".join(vocabulary.piece(i) or b"?" for i in ids).decode()
    assert json.dumps(tool, ensure_ascii=False) in text


# ---------------------------------------------------------------------------------------------- grammars


def _follows(grammars: Grammars, rules: str, vocabulary: Vocabulary, text: str) -> bool:
    """Whether a text, its marks as control tokens, is all that a grammar asks for."""
    matcher = grammars._matcher(rules, "tools")
    for part in vocabulary.controls.split(text):
        ids = [vocabulary.control[part]] if part in vocabulary.control else vocabulary.ids(part)
        if not all(matcher.consume_token(i) for i in ids):
            return False
    return bool(matcher.is_accepting() or matcher.is_stopped())


ONE = '{"a": 1, "exact": true}'
GOOD = {
    ARRAY: f'[TOOL_CALLS][{{"name": "add", "arguments": {ONE}}}, {{"name": "stop", "arguments": {{}}, "id": "abcdefghi"}}]',
    NAMED: f"[TOOL_CALLS]add[ARGS]{ONE}[TOOL_CALLS]stop[ARGS]{{}}",
    Dialect("named", True): f"[TOOL_CALLS]add[CALL_ID]abcdefghi[ARGS]{ONE}[TOOL_CALLS]stop[CALL_ID]123456789[ARGS]{{}}",
    TAGGED: f'<tool_call>\n{{"name": "add", "arguments": {ONE}}}\n</tool_call>\n<tool_call>\n{{"name": "stop", "arguments": {{}}}}\n</tool_call>',
}


@pytest.mark.parametrize("dialect", GOOD, ids=str)
def test_a_grammar_accepts_only_the_calls_of_its_dialect(dialect: Dialect, tiny: Path, embedded: Path) -> None:
    vocabulary = Vocabulary(embedded if dialect == TAGGED else tiny)
    scores = 151_936 if dialect == TAGGED else vocabulary.size
    grammars = Grammars(vocabulary, scores, [vocabulary.control["<|im_end|>" if dialect == TAGGED else "</s>"]])
    ids = {name: vocabulary.control[name] for name in MARKS if name in vocabulary.control}
    good = GOOD[dialect]

    def passes(text: str, calling: Calling) -> bool:
        return _follows(grammars, grammar(dialect, calling, ids, None, False), vocabulary, text)

    both = Calling((ADD, STOP), "required")
    assert passes(good, both)
    assert not passes(good, Calling((ADD, STOP), "required", parallel=False))
    assert not passes(good, Calling((ADD, STOP), "required", only="add"))
    assert not passes(good.replace('"a": 1', '"a": 3'), both)
    assert not passes(good.replace("add", "sub"), both)
    assert not passes("Hello", both)
    form = grammar(dialect, both, ids, ADD.parameters, False)
    assert _follows(grammars, form, vocabulary, ONE) and _follows(grammars, form, vocabulary, good)


# ---------------------------------------------------------------------------------------------- a real worker


def _called(host: Host, **fields: Any) -> tuple[list[tuple[str, str]], Frame]:
    calling = {"tools": [], "choice": "auto", "only": "", "parallel": True} | fields.pop("calling")
    tools = [{"name": t.name, "description": t.description, "parameters": t.parameters} for t in (ADD, STOP)]
    identity = host.send(
        "generate",
        messages=[{"role": "user", "content": ["Add."]}],
        sampling={"temperature": 1.0, "max_tokens": 60} | fields.pop("sampling", {}),
        calling=calling | {"tools": tools},
        **fields,
    )
    calls: dict[int, list[str]] = {}
    for frame in host.frames():
        if frame.get("id") != identity or frame["type"] in ("reading", "delta", "queued"):
            continue
        if frame["type"] != "call":
            return [(name, arguments) for name, arguments in calls.values()], frame
        call = calls.setdefault(frame["index"], [frame["name"], ""])
        call[1] += frame["arguments"]
    raise AssertionError(host.stderr())


def test_a_model_that_must_call_does_so_with_arguments_of_the_schema(seeing_host: Host) -> None:
    for seed in range(3):
        calls, end = _called(
            seeing_host, calling={"choice": "required", "only": "add"}, sampling={"seed": seed, "max_tokens": 60}
        )
        assert end["reason"] == "tool_calls"
        [(name, arguments)] = calls
        told = json.loads(arguments)
        assert name == "add" and told["a"] in (1, 2) and isinstance(told["exact"], bool) and len(told) == 2


def test_a_truncated_call_ends_with_reason_length(seeing_host: Host) -> None:
    must = {"choice": "required", "only": "add"}
    whole, end = _called(seeing_host, calling=must, sampling={"seed": 4})
    tokens = end["usage"]["completion_tokens"]
    calls, end = _called(seeing_host, calling=must, sampling={"seed": 4, "max_tokens": tokens - 4})
    assert end["reason"] == "length"
    [(name, arguments)] = calls
    assert name == "add" and whole[0][1].startswith(arguments)


def test_a_model_that_may_not_call_does_not(seeing_host: Host) -> None:
    calls, end = _called(seeing_host, calling={"choice": "none"}, sampling={"max_tokens": 8})
    assert not calls and end["reason"] in ("stop", "length")


def test_parameters_that_cannot_be_enforced_fail_before_the_answer(seeing_host: Host) -> None:
    broken = [{"name": "f", "description": "", "parameters": {"type": "object", "properties": {"a": {"$ref": "#/no"}}}}]
    end = seeing_host.finish(
        seeing_host.send(
            "generate",
            messages=[{"role": "user", "content": ["x"]}],
            calling={"tools": broken, "choice": "auto", "only": "", "parallel": True},
        )
    )
    assert end["type"] == "error" and end["failure"]["param"] == "tools"


def test_logprobs_of_the_tokens_add_up_to_the_answer(seeing_host: Host) -> None:
    identity = seeing_host.send(
        "generate",
        messages=[{"role": "user", "content": ["Say something."]}],
        sampling={"temperature": 0.0, "max_tokens": 12},
        top_logprobs=3,
    )
    text, logprobs = "", []
    for frame in seeing_host.frames():
        if frame.get("id") == identity and frame["type"] == "delta":
            text += frame["text"]
            logprobs += frame["logprobs"]
        elif frame.get("id") == identity and frame["type"] == "end":
            break
    # control tokens have no text, and a model of random weights may say some
    assert b"".join(bytes(entry["bytes"]) for entry in logprobs).decode("utf-8", "replace").startswith(text[:1])
    for entry in logprobs:
        assert entry["logprob"] <= 0 and len(entry["top_logprobs"]) == 3
        # greedy: the token itself is the likeliest
        assert entry["top_logprobs"][0]["logprob"] == pytest.approx(entry["logprob"], abs=1e-4)
