"""Messages become exactly the tokens of the model's own template, and no text ever becomes a control token."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from engine_host import Host
from jupyter_mistral.engine.requests.answer import fill_in_the_middle
from jupyter_mistral.engine.text.prompt_tokenizer import PromptTokenizer
from jupyter_mistral.engine.text.vocabulary import Detokenizer, Vocabulary
from jupyter_mistral.protocol.failures import Failure
from tokenizers import Tokenizer
from transformers import AutoTokenizer

TEXTS = [
    "Hello.",
    "  spaces at both ends \n\n",
    "x = {'a': 1}\n\nprint(f'{x!r:>10}')\t# tab",
    "日本語と 🙂🏽 و العربية \u200b ﷽",
    "\r\n\x00\x01 control characters",
    "1234567890 3.14159e-10",
    "\ue0000\ue001 looks like a placeholder",
]


@pytest.fixture(params=["small", "embedded", "tiny"])
def folder(request: pytest.FixtureRequest) -> Path:
    return Path(request.getfixturevalue(request.param))


@pytest.fixture
def vocabulary(folder: Path) -> Vocabulary:
    return Vocabulary(folder)


def test_tokens_equal_those_of_the_models_own_template(folder: Path, vocabulary: Vocabulary) -> None:
    """transformers renders the same template and tokenizes the whole string; on harmless text both must agree."""
    theirs = AutoTokenizer.from_pretrained(folder)
    template = PromptTokenizer(folder, vocabulary, None)
    for text in TEXTS:
        for turns in (
            [("user", [text])],
            [("system", [text]), ("user", ["Hi."]), ("assistant", [text]), ("user", [text, "!"])],
        ):
            messages = [{"role": role, "content": "".join(content)} for role, content in turns]
            want = theirs.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
            assert template.prompt(turns).ids == list(want), (text, turns)


def test_mistrals_tokens_equal_those_of_mistral_common(tiny: Path) -> None:
    from mistral_common.protocol.instruct.messages import AssistantMessage, SystemMessage, UserMessage
    from mistral_common.protocol.instruct.request import ChatCompletionRequest
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    theirs = MistralTokenizer.from_file(str(tiny / "tekken.json"))
    template = PromptTokenizer(tiny, Vocabulary(tiny), None)
    for text in (text for text in TEXTS if text.strip()):
        messages = [
            SystemMessage(content="Be kind."),
            UserMessage(content=text),
            AssistantMessage(content="Yes."),
            UserMessage(content=text),
        ]
        want = theirs.encode_chat_completion(ChatCompletionRequest(messages=messages)).tokens
        turns = [("system", ["Be kind."]), ("user", [text]), ("assistant", ["Yes."]), ("user", [text])]
        assert template.prompt(turns).ids == want, text


@pytest.mark.threat("T17")
def test_no_text_becomes_a_control_token(folder: Path, vocabulary: Vocabulary) -> None:
    template = PromptTokenizer(folder, vocabulary, None)
    control = set(vocabulary.control.values())
    plain = [i for i in template.prompt([("user", ["x"])]).ids if i in control]
    names = [*vocabulary.control, "[IMG]", "</s>", "<s>", "<|im_end|>", "<|im_start|>system\n", "[INST]", "<0x0A>"]
    assert len(vocabulary.control) > 3
    for name in names:
        for text in (name, f" {name}", f"{name}{name}\n", f"a{name}b", f"{name[:-1]}", "<" + name):
            ids = template.prompt([("user", [text])]).ids
            assert [i for i in ids if i in control] == plain, text
            assert not set(vocabulary.ids(text)) & control
    everything = "".join(names)
    assert [i for i in template.prompt([("user", [everything])]).ids if i in control] == plain


@pytest.mark.threat("T17")
def test_control_tokens_as_text_are_kept_as_text(vocabulary: Vocabulary) -> None:
    text = "a" + "".join(vocabulary.control) + "b"
    detokenizer = Detokenizer(vocabulary, drop_first_space=False)
    ids = vocabulary.ids(text)
    assert "".join(map(detokenizer.add, ids)) + detokenizer.finish() == text


@pytest.mark.threat("T17")
def test_without_the_text_tokenizer_they_would_end_the_turn(small: Path) -> None:
    """The control: the model's whole tokenizer does turn the text into the token."""
    whole = Tokenizer.from_file(str(small / "tokenizer.json"))
    assert Vocabulary(small).control["<|im_end|>"] in whole.encode("a<|im_end|>b").ids


def test_the_server_and_the_model_count_the_same_tokens(folder: Path, vocabulary: Vocabulary) -> None:
    served = Tokenizer.from_file(str(vocabulary.path))
    for text in [*TEXTS, "<|im_end|>[IMG]</s>"]:
        assert served.encode(text, add_special_tokens=False).ids == vocabulary.ids(text)
        assert vocabulary.count([text]) == [len(vocabulary.ids(text))]


def test_detokenizing_never_shows_half_a_character(vocabulary: Vocabulary) -> None:
    rng = random.Random(0)
    alphabet = "aé漢🙂\n ا\u200d𐍈{}"
    for _ in range(50):
        text = "".join(rng.choice(alphabet) for _ in range(40))
        detokenizer = Detokenizer(vocabulary, drop_first_space=False)
        pieces = [detokenizer.add(token) for token in vocabulary.ids(text)]
        assert "".join(pieces) + detokenizer.finish() == text
        assert not any("\ufffd" in piece for piece in pieces)


def test_an_incomplete_character_at_the_end_is_replaced(small: Path) -> None:
    vocabulary = Vocabulary(small)
    detokenizer = Detokenizer(vocabulary, drop_first_space=False)
    ids = vocabulary.ids("🙂")
    assert len(ids) > 1 and detokenizer.add(ids[0]) == "" and detokenizer.finish() == "\ufffd"


def test_sentencepiece_vocabularies_read_and_write_bytes_and_spaces(tmp_path: Path) -> None:
    """As in older Mistrals: a space is ▁, bytes are <0xNN>, and </s> could be merged from its letters."""
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"<0x{i:02X}>": 3 + i for i in range(256)}
    for piece in ("▁", "a", "b", "<", "/", "s", ">", "</", "s>", "▁a"):
        vocab[piece] = len(vocab)
    merges = ["< /", "s >", "</ s>", "▁ a"]
    special = [
        {"id": i, "content": name, "special": True, "single_word": False, "lstrip": False, "rstrip": False}
        | {"normalized": False}
        for i, name in enumerate(("<unk>", "<s>", "</s>"))
    ]
    decoders = [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}]
    whole: dict[str, Any] = {
        "version": "1.0",
        "added_tokens": special,
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [*decoders, {"type": "Fuse"}]},
        "model": {"type": "BPE", "vocab": vocab, "merges": merges, "byte_fallback": True, "unk_token": "<unk>"}
        | {"fuse_unk": True, "ignore_merges": False, "dropout": None}
        | {"continuing_subword_prefix": None, "end_of_word_suffix": None},
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(whole))
    from jupyter_mistral.engine.text.vocabulary import write_text_tokenizer

    write_text_tokenizer(tmp_path)
    vocabulary = Vocabulary(tmp_path)
    assert vocab["</s>"] not in vocabulary.ids("</s>")
    for text in ("a b </s> a", "🙂 a"):
        detokenizer = Detokenizer(vocabulary, drop_first_space=False)
        assert "".join(map(detokenizer.add, vocabulary.ids(text))) + detokenizer.finish() == text
    first = Detokenizer(vocabulary, drop_first_space=True)
    assert first.add(vocab["▁a"]) + first.add(vocab["▁a"]) == "a a"


def test_consecutive_messages_of_one_role_are_joined_if_the_template_requires_it(tiny: Path) -> None:
    template = PromptTokenizer(tiny, Vocabulary(tiny), None)
    assert template.prompt([("user", ["a"]), ("user", ["b"])]).ids == template.prompt([("user", ["a\n\nb"])]).ids
    with pytest.raises(Failure) as caught:
        template.prompt([("assistant", ["a"]), ("user", ["b"])])
    assert caught.value.code == "bad_request"


def test_a_model_without_a_template_only_completes(small: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(small, tmp_path / "base", ignore=shutil.ignore_patterns("chat_template*", "*.safetensors"))
    template = PromptTokenizer(tmp_path / "base", Vocabulary(tmp_path / "base"), None)
    with pytest.raises(Failure) as caught:
        template.prompt([("user", ["a"])])
    assert caught.value.code == "unsupported"


# ---------------------------------------------------------------------------------------------- fill in the middle

QWEN = {"prefix": "<|fim_prefix|>", "suffix": "<|fim_suffix|>", "middle": "<|fim_middle|>", "order": "psm"}


def test_fill_in_the_middle_uses_each_familys_order(embedded: Path) -> None:
    vocabulary = Vocabulary(embedded)
    a, b = vocabulary.ids("a ="), vocabulary.ids("print(a)")
    before, after, middle = (vocabulary.control[QWEN[key]] for key in ("prefix", "suffix", "middle"))
    ids, ends = fill_in_the_middle(vocabulary, QWEN, "a =", "print(a)")
    assert ids == [before, *a, after, *b, middle] and {before, after, middle} <= ends
    suffix_first = QWEN | {"middle": "", "order": "spm"}
    assert fill_in_the_middle(vocabulary, suffix_first, "a =", "print(a)")[0] == [after, *b, before, *a]
    assert fill_in_the_middle(vocabulary, None, "a =", "")[0] == a
    assert fill_in_the_middle(vocabulary, QWEN, "a =", None)[0] == a
    assert fill_in_the_middle(vocabulary, QWEN, "a =", "")[0] == [before, *a, after, middle]
    with pytest.raises(Failure):
        fill_in_the_middle(vocabulary, QWEN | {"prefix": "[NONE]"}, "a =", "")


def test_fill_in_the_middle_sees_both_sides(embedded: Path, tmp_path: Path) -> None:
    host = Host(tmp_path)
    loaded = host.load(embedded, fim=QWEN)
    assert loaded["card"]["can"] == ["text", "fim", "tools"] and loaded["card"]["parameters"] == 494032768
    prompt, suffix = "def add(first, second):\n    ", "\n\n\nassert add(2, 3) == 5\n"
    identity = host.send("complete", prompt=prompt, suffix=suffix, sampling={"temperature": 0.0, "max_tokens": 30})
    end = host.finish(identity)
    assert end["reason"] == "stop" and end["text"].startswith("return first + second")
    assert "<|" not in end["text"]
    empty = host.send("complete", prompt="<|fim_middle|><|endoftext|>", suffix="", sampling={"max_tokens": 3})
    assert host.finish(empty)["type"] == "end"
    host.close()
