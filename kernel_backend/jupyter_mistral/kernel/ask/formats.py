"""The formats of `-f`: what the model is instructed, how a growing answer is drawn, and what is kept of the complete one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from ...protocol.events import Usage
from ..errors import MistralError
from ..show.highlight import HIDDEN_MARKS
from ..show.markdown import Markdown, to_code, to_html
from ..show.reply import FinishReason, FormattedAnswer, Reply, to_body
from . import code_blocks

INSTRUCTIONS = {
    "markdown": "",
    "text": "Answer in plain text, without Markdown.",
    "code": "Answer with Python code for one notebook cell, in one ```python block, and nothing else.",
    "json": "Answer with JSON only.",
    "html": "Answer with one HTML document or fragment only, in one ```html block: no scripts, nothing loaded from elsewhere.",
    "math": "Answer with LaTeX mathematics only, between $$ and $$.",
}

# the start of the answer, which we supply so that a small model cannot wander off before the code
PREFILLS = {"code": "```python\n"}


def instruction(kind: str, schema: dict[str, Any] | None = None) -> str:
    """The format's instruction, which ends the question."""
    schema_part = f" It fits this JSON schema: {json.dumps(schema, ensure_ascii=False)}" if schema else ""
    return INSTRUCTIONS[kind] + schema_part


def make_renderer(kind: str) -> Callable[[str], str]:
    """A function that draws a growing answer: text -> HTML."""
    if kind in ("markdown", "code", "math"):
        return Markdown()
    language = {"json": "json", "html": "html"}.get(kind, "")
    return lambda text: to_code(text, language) if text else ""


def finish(kind: str, text: str, reason: FinishReason, usage: Usage) -> FormattedAnswer:
    """Keep the part of an answer that its format asked for. `problem` says what is missing."""
    if kind in PREFILLS and reason == "stop":
        text = code_blocks.drop_unused_prefill(text, PREFILLS[kind])
    blocks, _ = code_blocks.split(text)
    code = tuple(block.text for block in blocks)
    if kind == "code":
        return _finish_code(text, code, reason, usage)
    if kind == "json":
        return _finish_json(text, reason, usage)
    if kind == "html":
        return _finish_html(text, reason, usage)
    if kind == "math":
        return _finish_math(text, reason, usage)
    reply = Reply(text, kind, code, usage, reason)
    return FormattedAnswer(reply, to_body(reply))


def _finish_code(text: str, code: tuple[str, ...], reason: FinishReason, usage: Usage) -> FormattedAnswer:
    cell, prose = code_blocks.cell_of(text)
    cell = HIDDEN_MARKS.sub("", cell)
    reply = Reply(text, "code", code or ((cell,) if cell else ()), usage, reason)
    if not cell:
        problem = _missing("code", reason, "Try again, or say what the cell should do.")
        return FormattedAnswer(reply, to_html(text), problem=problem)
    count = len(cell.splitlines())
    place = "not inserted" if reason == "stopped" else "in the new cell below"
    summary = f"{count} line{'s' if count > 1 else ''} of code, {place}"
    details = f"<details><summary>{summary}</summary>{to_code(cell, 'python')}</details>"
    return FormattedAnswer(reply, to_html(prose) + details, next_cell=cell)


def _finish_html(text: str, reason: FinishReason, usage: Usage) -> FormattedAnswer:
    html = code_blocks.html_of(text)
    reply = Reply(html or text, "html", (html,) if html else (), usage, reason)
    problem = "" if html else _missing("HTML", reason, "Try again, or say what the page should contain.")
    return FormattedAnswer(reply, to_body(reply), problem=problem)


def _finish_math(text: str, reason: FinishReason, usage: Usage) -> FormattedAnswer:
    formulas = code_blocks.formulas_of(text)
    reply = Reply("\n\n".join(formulas) or text, "math", (), usage, reason)
    problem = "" if formulas else _missing("formula", reason, "Try again.")
    return FormattedAnswer(reply, to_body(reply), problem=problem)


def _finish_json(text: str, reason: FinishReason, usage: Usage) -> FormattedAnswer:
    try:
        data: Any = json.loads(code_blocks.unwrap(text, ("json",)))
    except ValueError:
        truncated = "The answer reached the token limit before its JSON was complete. Raise --max-tokens."
        problem = truncated if reason == "length" else "The answer is not valid JSON. Try again."
        return FormattedAnswer(Reply(text, "json", (), usage, reason), to_code(text, "json"), problem=problem)
    reply = Reply(json.dumps(data, indent=2, ensure_ascii=False), "json", (), usage, reason, data)
    return FormattedAnswer(reply, to_body(reply))


def _missing(part: str, reason: FinishReason, todo: str) -> str:
    if reason == "length":
        return f"The answer reached the token limit before any {part}. Raise --max-tokens."
    return f"The answer contains no {part}. {todo}"


def parse_schema(text: str, namespace: dict[str, Any]) -> dict[str, Any]:
    """A JSON schema: JSON text, or the name of a dict or of a class with `model_json_schema`. Raises `MistralError`."""
    value: Any = namespace.get(text) if text.isidentifier() else None
    if hasattr(value, "model_json_schema"):
        value = value.model_json_schema()
    if value is None:
        try:
            value = json.loads(text)
        except ValueError:
            value = None
    if not isinstance(value, dict):
        raise MistralError(
            f"--schema {text[:60]!r} is neither a JSON object nor a variable that contains one. "
            'Write it as --schema \'{"type": "object", …}\'.',
            "bad_request",
        )
    return value
