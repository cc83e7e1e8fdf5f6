"""Converts between text and token ids of one model folder. Text never becomes a control token. Knows no torch.

`tokenizer.json` is the model's whole tokenizer. `text_tokenizer.json`, written beside it, is the same without control tokens.
It tokenizes everything that users and notebooks contain, so `<|im_end|>` in a cell is ten harmless characters. The server
counts with it too.
"""

from __future__ import annotations

import codecs
import json
import re
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from ...protocol.failures import Failure
from ...tokenizer.text_tokenizer import TEXT_TOKENIZER, control_pattern, is_control, without_control


def write_text_tokenizer(folder: Path) -> None:
    """Write `text_tokenizer.json`, and `tokenizer.json` if there is a tekken.json, Mistral's own format."""
    if (folder / "tekken.json").is_file():
        _convert_tekken(folder)
    if not (folder / "tokenizer.json").is_file():
        raise Failure(
            "unsupported", f"{folder.name} contains no tokenizer.json.", "Choose a model with a fast tokenizer."
        )
    whole = json.loads((folder / "tokenizer.json").read_bytes())
    (folder / TEXT_TOKENIZER).write_text(json.dumps(without_control(whole), ensure_ascii=False))


def _convert_tekken(folder: Path) -> None:
    from transformers.integrations.mistral.tokenizer import convert_tekken_tokenizer

    convert_tekken_tokenizer(str(folder / "tekken.json")).save_pretrained(folder)


class Vocabulary:
    """The tokenizer files of `folder`, read."""

    def __init__(self, folder: Path) -> None:
        self.whole_json = (folder / "tokenizer.json").read_text()
        self.path = folder / TEXT_TOKENIZER
        whole = json.loads(self.whole_json)
        self._text = Tokenizer.from_file(str(self.path))
        self._whole = Tokenizer.from_str(self.whole_json)
        added = [token for token in whole["added_tokens"] if is_control(token)]
        self.control: dict[str, int] = {token["content"]: token["id"] for token in added}
        self._hidden = {token["id"] for token in added if token["special"]}
        self._byte_of = _byte_alphabet() if "ByteLevel" in _decoder_kinds(whole) else None
        if self._byte_of is None and not {"ByteFallback", "Metaspace"} & _decoder_kinds(whole):
            raise Failure("unsupported", "The type of the model's tokenizer is not supported.", "Choose another model.")
        self._check_text_tokenizer()

    def _check_text_tokenizer(self) -> None:
        """Raise `Failure` if the text of a control token would be tokenized as that token."""
        ids = set(self.control.values())
        for name, encoding in zip(self.control, self._text.encode_batch(list(self.control), False), strict=True):
            if ids & set(encoding.ids):
                raise Failure("unsupported", f"The text {name} would become a control token.", "Choose another model.")

    @property
    def size(self) -> int:
        return int(self._whole.get_vocab_size(with_added_tokens=True))

    @cached_property
    def first_ids(self) -> list[int]:
        """What the tokenizer adds before any text, such as a beginning-of-text token."""
        return list(self._whole.encode("", add_special_tokens=True).ids)

    def ids(self, text: str) -> list[int]:
        """Plain text to ids, none of them a control token."""
        return list(self._text.encode(_clean(text), add_special_tokens=False).ids)

    def count(self, texts: list[str]) -> list[int]:
        encodings = self._text.encode_batch([_clean(text) for text in texts], add_special_tokens=False)
        return [len(encoding.ids) for encoding in encodings]

    def control_id(self, name: str) -> int:
        if name not in self.control:
            raise Failure("unsupported", f"The model has no token {name}.", "Choose another model.")
        return self.control[name]

    @cached_property
    def controls(self) -> re.Pattern[str]:
        """Matches each control token, longest first; in a group, so that `split` keeps them."""
        return control_pattern(self.control)

    def piece(self, token: int) -> bytes:
        """The bytes that a generated token adds; none for a control token that is marked as special."""
        if token in self._hidden:
            return b""
        name = self._whole.id_to_token(token)
        if name is None:
            return b""
        if name in self.control:
            return name.encode()
        if self._byte_of is not None:
            return bytes(self._byte_of.get(c, 63) for c in name)
        if re.fullmatch("<0x[0-9A-F]{2}>", name):
            return bytes([int(name[3:5], 16)])
        return name.replace("▁", " ").encode()

    @property
    def starts_with_space(self) -> bool:
        """Whether the first token of an answer adds a space that is not part of it (sentencepiece)."""
        return self._byte_of is None


class Detokenizer:
    """Turns tokens into text, never half a character."""

    def __init__(self, vocabulary: Vocabulary, drop_first_space: bool) -> None:
        self._vocabulary = vocabulary
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._drop = drop_first_space and vocabulary.starts_with_space

    def add(self, token: int) -> str:
        piece = self._vocabulary.piece(token)
        if self._drop and piece:
            piece, self._drop = piece.removeprefix(b" "), False
        return self._utf8.decode(piece)

    def finish(self) -> str:
        return self._utf8.decode(b"", final=True)


def _clean(text: str) -> str:
    """Replace lone surrogates, which cannot be encoded."""
    return text.encode("utf-8", "replace").decode() if not text.isascii() else text


def _decoder_kinds(whole: dict[str, Any]) -> set[str]:
    decoder = whole.get("decoder") or {}
    return {decoder.get("type", "")} | {part["type"] for part in decoder.get("decoders", [])}


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-ins for the 256 bytes (openai/gpt-2, encoder.py, bytes_to_unicode)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}
