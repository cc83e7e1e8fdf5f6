"""Counts with a model's own tokenizer files, without torch: texts, pictures, and whole prompts with their chat template."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...chat_template import PLACE, read_json
from ...protocol.conversation import Message
from ...protocol.failures import Failure
from ...protocol.images import Image
from ..notebook.pictures import Geometry, estimate
from ..prompt.ledger import Counter, runs
from .template import ChatTemplate

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# what the engine writes beside tokenizer.json: the same without control tokens, so that text never becomes one
TEXT_TOKENIZER = "text_tokenizer.json"


class Tokens:
    """The tokenizer of a model folder, or of a path to a file in it. `count` is what `build` asks for; it remembers."""

    def __init__(self, path: Path) -> None:
        self.folder = path if path.is_dir() else path.parent
        name = "tokenizer.json" if path.is_dir() or path.name == TEXT_TOKENIZER else path.name
        self._path = self.folder / name
        self._text = self._load()
        self._template = ChatTemplate(self.folder, self._controls)
        self.count = Counter(self._count)

    def _load(self) -> Tokenizer:
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise Failure(
                "engine_missing",
                "The package `tokenizers`, which counts tokens, is not installed.",
                "Run `pip install tokenizers`.",
            ) from None
        try:
            text = self._path.with_name(TEXT_TOKENIZER)
            if text.is_file():
                return Tokenizer.from_file(str(text))
            return Tokenizer.from_str(json.dumps(_without_control(json.loads(self._path.read_bytes()))))
        except Exception as error:  # the library raises bare Exception for a file it cannot read
            raise Failure(
                "corrupt_model", f"{self._path.name} cannot be read: {str(error)[:200]}.", "Fetch the model again."
            ) from None

    def _count(self, texts: list[str]) -> list[int]:
        return [len(e.ids) for e in self._text.encode_batch_fast(texts, add_special_tokens=False)]

    def overhead(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> int:
        """Tokens that the chat template adds to the texts and pictures of these messages, up to where the answer starts:
        function calls and the tools that may be called too."""
        texts = [run for m in messages for run in runs(m.content) if isinstance(run, str)]
        pictures = sum(self.image(image) for m in messages for image in m.images)
        return self.prompt(messages, tools) - sum(self.count(texts)) - pictures

    def prompt(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> int:
        """Tokens of the whole prompt: what the engine sends, which cuts it in the same way."""
        *before, last = messages
        if before and last.role == "assistant" and not last.tool_calls:  # the beginning of the answer
            return self.prompt(before, tools) + self.count([last.text])[0]
        rendered, texts = self._template.rendered(messages, tools)
        waiting = [self.image(image) for m in messages for image in m.images]
        tokens, stretch, stretches = 0, "", []
        for part in self._controls.split(rendered):
            if part not in self._control:
                stretch += PLACE.sub(lambda match: texts[int(match[1])], part)
                continue
            stretches.append(stretch)
            stretch = ""
            tokens += waiting.pop(0) if waiting and part == self._image_token else 1
        return tokens + sum(self.count([s for s in (*stretches, stretch) if s]))

    def image(self, image: Image) -> int:
        """Tokens of a picture, as the model's own files say that it is cut."""
        return self._geometry.tokens(image) if self._geometry else estimate(image)

    @cached_property
    def _geometry(self) -> Geometry | None:
        return Geometry.of_folder(self.folder)

    @cached_property
    def _added(self) -> list[dict[str, Any]]:
        added = read_json(self._path).get("added_tokens", ())
        return [t for t in added if t["special"] or t["content"].strip()]

    @cached_property
    def _control(self) -> frozenset[str]:
        return frozenset(t["content"] for t in self._added)

    @cached_property
    def _image_token(self) -> str | None:
        config = read_json(self.folder / "config.json")
        number = config.get("image_token_id", config.get("image_token_index"))
        return next((t["content"] for t in self._added if t["id"] == number and self._geometry), None)

    @cached_property
    def _controls(self) -> re.Pattern[str]:
        names = sorted(self._control, key=len, reverse=True)
        return re.compile("(" + "|".join(map(re.escape, names)) + ")") if names else re.compile("(?!)()")


def _without_control(whole: dict[str, Any]) -> dict[str, Any]:
    """The tokenizer for plain text, where a folder does not have it ready."""
    kept = [t for t in whole.get("added_tokens", ()) if not t["special"] and not t["content"].strip()]
    return {**whole, "added_tokens": kept, "post_processor": None, "truncation": None, "padding": None}
