"""Keeps `%mistral is this right?` a question: IPython would take the question mark for a help request on the last word."""

from __future__ import annotations

from typing import Any

from IPython.core.inputtransformer2 import TokenTransformBase


class QuestionMarkTransform(TokenTransformBase):
    """Turns such a line into a call of the magic."""

    priority = 1  # before IPython's own help syntax

    @classmethod
    def find(cls, tokens_by_line: list[list[Any]]) -> QuestionMarkTransform | None:
        for line in tokens_by_line:
            tokens = [token for token in line if token.string.strip()]
            if len(tokens) < 4 or [tokens[0].string, tokens[1].string, tokens[-1].string] != ["%", "mistral", "?"]:
                continue
            if tokens[0].start[0] == tokens[-1].end[0]:
                return cls(tokens[0].start)
        return None

    def transform(self, lines: list[str]) -> list[str]:
        line = lines[self.start_line]
        indent, content = line[: self.start_col], line[self.start_col :].strip()
        question = content.removeprefix("%mistral").strip()
        call = f"{indent}get_ipython().run_line_magic('mistral', {question!r})\n"
        return [*lines[: self.start_line], call, *lines[self.start_line + 1 :]]
