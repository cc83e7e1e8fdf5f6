"""Fill `{name}`, `{In[3]}`, `{Out[3]}` and `{Err[3]}` into a prompt; every other brace passes through untouched."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..variables.describe import describe
from ..variables.masking import HIDDEN, is_secret_name, mask

MAX_TEXT = 50_000

# an f-string's literal is code and is skipped whole; so is {{x}}; and x^{i}, x_{i}, \frac{a}{b}, ${x} are not ours
_FSTRING = r"""(?<![\w"'])(?:[fF][rR]?|[rR][fF])(?:\"\"\".*?\"\"\"|'''.*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')"""
_TEX = r"\\[A-Za-z]+\*?(?:\[[^\]\n]*\])?(?:\{[^{}\n]*\})+"
_PLAIN = r"(?<![{$^_])\{(?P<name>[^\W\d]\w*)(?:\[(?P<number>\d{1,6})\])?\}(?!\})"
_PATTERN = re.compile(f"{_FSTRING}|{_TEX}|{_PLAIN}", re.DOTALL)


def fill(prompt: str, lookup: Callable[[str, int | None], str | None]) -> str:
    """`prompt` with each plain reference that `lookup(name, number)` knows replaced; None leaves the braces as they are."""

    def found(match: re.Match[str]) -> str:
        name, number = match["name"], match["number"]
        text = lookup(name, int(number) if number else None) if name else None
        return match[0] if text is None else text

    return _PATTERN.sub(found, prompt)


class Lookup:
    """What the references stand for: variables, and the shell's inputs, outputs and errors by prompt number."""

    def __init__(self, namespace: Mapping[str, Any], inputs: Sequence[str], errors: Mapping[int, str]) -> None:
        self._namespace, self._inputs, self._errors = namespace, inputs, errors

    def __call__(self, name: str, number: int | None) -> str | None:
        if number is not None:
            return self._numbered(name, number)
        if name.startswith("_") or name not in self._namespace:
            return None
        return shown(name, self._namespace[name])

    def _numbered(self, name: str, number: int) -> str | None:
        if name == "Err":
            return self._errors.get(number)
        if name == "In":
            return mask(self._inputs[number]) if 0 < number < len(self._inputs) else None
        held = self._namespace.get(name)
        if name == "Out" and isinstance(held, dict) and number in held:
            return shown(f"Out[{number}]", held[number])
        return None


def shown(name: str, value: Any) -> str:
    """A value as it stands in a prompt: text and numbers as they are, what is larger by its description."""
    if isinstance(value, str) and is_secret_name(name):
        return HIDDEN
    if type(value) in (int, float, bool, complex):
        return describe("", value).partition(" = ")[2]
    text = getattr(value, "text", None) if type(value).__module__.startswith("jupyter_mistral.") else None
    text = text if isinstance(text, str) else value
    if isinstance(text, str):
        cut = text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}\n… ({len(text) - MAX_TEXT:,} characters more)"
        return mask(cut)
    return describe(name, value, 4000)
