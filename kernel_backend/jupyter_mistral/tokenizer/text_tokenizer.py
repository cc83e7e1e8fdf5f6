"""The tokenizer for plain text: a model's `tokenizer.json` without its control tokens, so that no text becomes one.

`text_tokenizer.json` is written beside it when a model is quantized. Text from users and notebooks is tokenized with it: `<|im_end|>` in
a cell is ten harmless characters.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

TEXT_TOKENIZER = "text_tokenizer.json"


def is_control(token: dict[str, Any]) -> bool:
    """Whether an added token is a control token. Some vocabularies add runs of spaces; those are text."""
    return bool(token["special"]) or bool(token["content"].strip())


def control_pattern(names: Collection[str]) -> re.Pattern[str]:
    """Matches each control token, longest first, in a group so that `split` keeps them."""
    longest_first = sorted(names, key=len, reverse=True)
    return re.compile("(" + "|".join(map(re.escape, longest_first)) + ")") if names else re.compile("(?!)()")


def without_control(tokenizer: dict[str, Any]) -> dict[str, Any]:
    """`tokenizer`, the content of a tokenizer.json, without control tokens, also in its vocabulary and merges."""
    added = tokenizer.get("added_tokens", ())
    control = {token["content"] for token in added if is_control(token)}
    model = dict(tokenizer["model"])
    model["vocab"], dropped = _vocabulary_without(model["vocab"], control)
    if "merges" in model:
        model["merges"] = [merge for merge in model["merges"] if _merged(merge) not in dropped]
    if model.get("unk_token") in dropped:
        model["unk_token"] = None
    text = {"added_tokens": [token for token in added if token["content"] not in control], "model": model}
    return {**tokenizer, **text, "post_processor": None, "truncation": None, "padding": None}


def _vocabulary_without(vocabulary: Any, control: set[str]) -> tuple[Any, set[str]]:
    if isinstance(vocabulary, dict):
        return {k: v for k, v in vocabulary.items() if k not in control}, control & set(vocabulary)
    # a Unigram vocabulary numbers tokens by position: a control piece stays, but never wins
    return [[piece, -1e9 if piece in control else score] for piece, score in vocabulary], set()


def _merged(merge: str | list[str]) -> str:
    return "".join(merge.split(" ") if isinstance(merge, str) else merge)
