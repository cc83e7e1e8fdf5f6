"""Counts the tokens of texts, images and prompts with a model's own tokenizer files, without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..protocol.conversation import Message
from ..protocol.failures import Failure
from ..protocol.images import Image
from ..tokenizer.chat_template import PLACEHOLDER, ChatTemplate, Turn
from ..tokenizer.image_tokens import ImageGrid, estimate
from ..tokenizer.model_files import read_json
from ..tokenizer.text_tokenizer import TEXT_TOKENIZER, control_pattern, is_control, without_control
from .prompt.ledger import Counter, runs

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# tokens that a chat template adds per message and per prompt, rounded up
_PER_MESSAGE, _PER_PROMPT = 8, 40


def estimated_overhead(messages: Sequence[Message]) -> int:
    """Tokens that an unknown chat template adds to these messages."""
    return _PER_PROMPT + _PER_MESSAGE * len(messages)


class TokenCounter:
    """Counts with the tokenizer of a model folder. `count` is a `Counter` for `build`.

    path: the folder or a tokenizer file in it.
    """

    def __init__(self, path: Path) -> None:
        self.folder = path if path.is_dir() else path.parent
        name = "tokenizer.json" if path.is_dir() or path.name == TEXT_TOKENIZER else path.name
        self._path = self.folder / name
        self._text = self._load()
        self._controls = control_pattern(self._control)
        self._template = ChatTemplate(self.folder, self._controls)
        self.count = Counter(self._count)

    def _load(self) -> Tokenizer:
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise Failure(
                "engine_missing",
                "The package `tokenizers`, needed to count tokens, is not installed.",
                "Run `pip install tokenizers`.",
            ) from None
        try:
            text = self._path.with_name(TEXT_TOKENIZER)
            if text.is_file():
                return Tokenizer.from_file(str(text))
            return Tokenizer.from_str(json.dumps(without_control(json.loads(self._path.read_bytes()))))
        except Exception as error:  # the library raises bare Exception for a file it cannot read
            raise Failure(
                "corrupt_model", f"{self._path.name} cannot be read: {str(error)[:200]}.", "Download the model again."
            ) from None

    def _count(self, texts: list[str]) -> list[int]:
        return [len(e.ids) for e in self._text.encode_batch_fast(texts, add_special_tokens=False)]

    def overhead(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> int:
        """Tokens that the chat template adds to the texts and images of the messages, tools and function calls included."""
        texts = [run for m in messages for run in runs(m.content) if isinstance(run, str)]
        image_tokens = sum(self.image(image) for m in messages for image in m.images)
        return self.prompt(messages, tools) - sum(self.count(texts)) - image_tokens

    def prompt(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> int:
        """Tokens of the whole prompt, exactly as the engine tokenizes it."""
        *before, last = messages
        if before and last.role == "assistant" and not last.tool_calls:  # the answer continues it
            return self.prompt(before, tools) + self.count([last.text])[0]
        rendered, texts = self._rendered(messages, tools)
        image_counts = [self.image(image) for m in messages for image in m.images]
        tokens, run, text_runs = 0, "", []
        for part in self._controls.split(rendered):
            if part not in self._control:
                run += PLACEHOLDER.sub(lambda match: texts[int(match[1])], part)
                continue
            text_runs.append(run)
            run = ""
            tokens += image_counts.pop(0) if image_counts and part == self._image_token else 1
        return tokens + sum(self.count([text for text in (*text_runs, run) if text]))

    def _rendered(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> tuple[str, list[str]]:
        if self._template.source is None:  # only the texts, one after the other
            return "".join(message.text for message in messages), []
        return self._template.render([Turn(m.role, m.content, m.tool_calls, m.tool_call_id) for m in messages], tools)

    def image(self, image: Image) -> int:
        """Tokens of an image, by the model's own settings."""
        return self._grid.tokens(image) if self._grid else estimate(image)

    @cached_property
    def _grid(self) -> ImageGrid | None:
        return ImageGrid.of_folder(self.folder)

    @cached_property
    def _added(self) -> list[dict[str, Any]]:
        return [token for token in read_json(self._path).get("added_tokens", ()) if is_control(token)]

    @cached_property
    def _control(self) -> frozenset[str]:
        return frozenset(t["content"] for t in self._added)

    @cached_property
    def _image_token(self) -> str | None:
        config = read_json(self.folder / "config.json")
        number = config.get("image_token_id", config.get("image_token_index"))
        return next((t["content"] for t in self._added if t["id"] == number and self._grid), None)
