"""Replaces `{name}`, `{In[3]}`, `{Out[3]}` and `{Err[3]}` in a prompt; leaves every other brace as it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .describe import describe
from .masking import HIDDEN, is_secret_name, mask

MAX_TEXT = 50_000

# f-strings are code and are skipped whole; {{x}}, x^{i}, x_{i}, \frac{a}{b} and ${x} are not references either
_FSTRING = r"""(?<![\w"'])(?:[fF][rR]?|[rR][fF])(?:\"\"\".*?\"\"\"|'''.*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')"""
_TEX = r"\\[A-Za-z]+\*?(?:\[[^\]\n]*\])?(?:\{[^{}\n]*\})+"
_PLAIN = r"(?<![{$^_])\{(?P<name>[^\W\d]\w*)(?:\[(?P<number>\d{1,6})\])?\}(?!\})"
_PATTERN = re.compile(f"{_FSTRING}|{_TEX}|{_PLAIN}", re.DOTALL)


def fill(prompt: str, lookup: Callable[[str, int | None], str | None]) -> str:
    """Replace each reference in `prompt` that `lookup(name, number)` knows; None leaves the braces as they are."""

    def replacement(match: re.Match[str]) -> str:
        name, number = match["name"], match["number"]
        text = lookup(name, int(number) if number else None) if name else None
        return match[0] if text is None else text

    return _PATTERN.sub(replacement, prompt)


class Lookup:
    """Looks up references: variables, and the shell's inputs, outputs and errors by prompt number."""

    def __init__(self, namespace: Mapping[str, Any], inputs: Sequence[str], errors: Mapping[int, str]) -> None:
        self._namespace, self._inputs, self._errors = namespace, inputs, errors

    def __call__(self, name: str, number: int | None) -> str | None:
        if number is not None:
            return self._numbered(name, number)
        if name.startswith("_") or name not in self._namespace:
            return None
        return to_prompt_text(name, self._namespace[name])

    def _numbered(self, name: str, number: int) -> str | None:
        if name == "Err":
            return self._errors.get(number)
        if name == "In":
            return mask(self._inputs[number]) if 0 < number < len(self._inputs) else None
        outputs = self._namespace.get(name)
        if name == "Out" and isinstance(outputs, dict) and number in outputs:
            return to_prompt_text(f"Out[{number}]", outputs[number])
        return None


def to_prompt_text(name: str, value: Any) -> str:
    """A value as text for a prompt: strings and numbers verbatim, other objects as a description."""
    if isinstance(value, str) and is_secret_name(name):
        return HIDDEN
    if type(value) in (int, float, bool, complex):
        return describe("", value).partition(" = ")[2]
    text = getattr(value, "text", None) if type(value).__module__.startswith("jupyter_mistral.") else None
    text = text if isinstance(text, str) else value
    if isinstance(text, str):
        omitted = f"\n… ({len(text) - MAX_TEXT:,} characters more)" if len(text) > MAX_TEXT else ""
        return mask(text[:MAX_TEXT] + omitted)
    return describe(name, value, 4000)
