"""`%mistral is this right?` stays a question: IPython would take the mark for a call for help on the last word."""

from __future__ import annotations

from typing import Any

from IPython.core.inputtransformer2 import TokenTransformBase


class AskedWithAMark(TokenTransformBase):
    """Turns such a line into the call of the magic."""

    priority = 1  # before IPython's own help syntax

    @classmethod
    def find(cls, tokens_by_line: list[list[Any]]) -> AskedWithAMark | None:
        for line in tokens_by_line:
            words = [t for t in line if t.string.strip()]
            if len(words) < 4 or [words[0].string, words[1].string, words[-1].string] != ["%", "mistral", "?"]:
                continue
            if words[0].start[0] == words[-1].end[0]:
                return cls(words[0].start)
        return None

    def transform(self, lines: list[str]) -> list[str]:
        line = lines[self.start_line]
        indent, content = line[: self.start_col], line[self.start_col :].strip()
        question = content.removeprefix("%mistral").strip()
        call = f"{indent}get_ipython().run_line_magic('mistral', {question!r})\n"
        return [*lines[: self.start_line], call, *lines[self.start_line + 1 :]]
