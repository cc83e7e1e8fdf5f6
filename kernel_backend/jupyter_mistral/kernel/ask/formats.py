"""The formats of `-f`: what the model is told, how a growing answer looks, what of it is kept. Really enforced: see `finish`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

from ...protocol.events import Usage
from ..errors import MistralError
from ..show.highlight import CONTROL, HIDDEN_MARKS
from ..show.markdown import Markdown, is_safe_tex, to_code, to_html, to_math
from ..show.style import frame
from . import code_blocks
from .reply import Reply

Finish = Literal["stop", "length", "stopped", "tool_calls"]

INSTRUCTIONS = {
    "markdown": "",
    "text": "Answer in plain text, without Markdown.",
    "code": "Answer with Python code for one notebook cell, in one ```python block, and nothing else.",
    "json": "Answer with JSON only.",
    "html": "Answer with one HTML document or fragment only, in one ```html block: no scripts, nothing loaded from elsewhere.",
    "math": "Answer with LaTeX mathematics only, between $$ and $$.",
}

# how the answer begins, so that a small model cannot wander off before the code
BEGUN = {"code": "```python\n"}

# a frame without scripts, forms, popups or the page's origin; nothing in it is loaded from anywhere
_POLICY = (
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"
    '<base target="_blank">'
)
_REACHING_OUT = re.compile(
    r"<(?=/?(?:link|meta|base|iframe|frame|frameset|object|embed|portal|script)\b)", re.IGNORECASE
)
_TARGET = re.compile(r"\btarget(?=\s*=)", re.IGNORECASE)


@dataclass(frozen=True)
class Shown:
    """A finished answer: the reply, the body of its output, the cell to offer below, and what is missing, if anything."""

    reply: Reply
    body: str
    next_cell: str = ""
    problem: str = ""


def instruction(format: str, schema: dict[str, Any] | None = None) -> str:
    """What the question ends with."""
    shape = f" It fits this JSON schema: {json.dumps(schema, ensure_ascii=False)}" if schema else ""
    return INSTRUCTIONS[format] + shape


def live(format: str) -> Callable[[str], str]:
    """How an answer that is still growing is drawn: text -> HTML."""
    if format in ("markdown", "code", "math"):
        return Markdown()
    language = {"json": "json", "html": "html"}.get(format, "")
    return lambda text: to_code(text, language) if text else ""


def finish(format: str, text: str, finish: Finish, usage: Usage) -> Shown:
    """Keep of an answer what its format asked for. `problem` says what did not come."""
    if format in BEGUN and finish == "stop":
        text = code_blocks.unbegun(text, BEGUN[format])
    found, _ = code_blocks.split(text)
    code = tuple(b.text for b in found)
    if format == "code":
        return _code(text, code, finish, usage)
    if format == "json":
        return _json(text, finish, usage)
    if format == "html":
        html = code_blocks.html_of(text)
        reply = Reply(html or text, "html", (html,) if html else (), usage, finish)
        return Shown(
            reply,
            _body(reply),
            problem="" if html else _absent("HTML", finish, "Ask again, or say what the page shall hold."),
        )
    if format == "math":
        formulas = code_blocks.formulas_of(text)
        reply = Reply("\n\n".join(formulas) or text, "math", (), usage, finish)
        return Shown(reply, _body(reply), problem="" if formulas else _absent("formula", finish, "Ask again."))
    reply = Reply(text, format, code, usage, finish)
    return Shown(reply, _body(reply))


def _code(text: str, code: tuple[str, ...], finish: Finish, usage: Usage) -> Shown:
    cell, prose = code_blocks.cell_of(text)
    cell = HIDDEN_MARKS.sub("", cell)
    reply = Reply(text, "code", code or ((cell,) if cell else ()), usage, finish)
    if not cell:
        return Shown(reply, to_html(text), problem=_absent("code", finish, "Ask again, or say what the cell shall do."))
    lines = len(cell.splitlines())
    where = "not inserted" if finish == "stopped" else "in the new cell below"
    fold = f"<details><summary>{lines} line{'s' if lines > 1 else ''} of code, {where}</summary>{to_code(cell, 'python')}</details>"
    return Shown(reply, to_html(prose) + fold, next_cell=cell)


def _absent(what: str, finish: Finish, todo: str) -> str:
    if finish == "length":
        return f"The answer was cut before any {what} came. Raise --max-tokens."
    return f"No {what} came in the answer. {todo}"


def _json(text: str, finish: Finish, usage: Usage) -> Shown:
    try:
        data: Any = json.loads(code_blocks.unwrapped(text, ("json",)))
    except ValueError:
        cut = "The answer was cut before its JSON was whole. Raise --max-tokens."
        problem = cut if finish == "length" else "The answer is not JSON. Ask again."
        return Shown(Reply(text, "json", (), usage, finish), to_code(text, "json"), problem=problem)
    reply = Reply(json.dumps(data, indent=2, ensure_ascii=False), "json", (), usage, finish, data)
    return Shown(reply, _body(reply))


def _body(reply: Reply) -> str:
    if reply.format == "json":
        return to_code(reply.text, "json")
    if reply.format == "html" and reply.code:
        fold = f"<details><summary>Source</summary>{to_code(reply.text, 'html')}</details>"
        return f'<iframe sandbox="" srcdoc="{escape(to_document(reply.text))}"></iframe>{fold}'
    if reply.format == "math":
        return "".join(f"<p>{to_math(tex, True)}</p>" for tex in reply.text.split("\n\n"))
    if reply.format == "text":
        return f"<pre>{escape(reply.text)}</pre>"
    return to_html(reply.text)


def to_document(html: str) -> str:
    """The HTML as the sandboxed frame gets it: tags that reach out (links, redirects, frames) become text."""
    return _POLICY + _TARGET.sub("data-target", _REACHING_OUT.sub("&lt;", html))


def to_bundle(reply: Reply, body: str | None = None, foot: str = "") -> dict[str, str]:
    """What a front end is given. Never text/markdown, which JupyterLab does not sanitize."""
    bundle = {"text/plain": CONTROL.sub("", reply.text)}
    if reply.format != "text":
        bundle["text/html"] = frame(_body(reply) if body is None else body, foot)
    if reply.format == "math" and all(map(is_safe_tex, reply.text.split("\n\n"))):
        bundle["text/latex"] = "\n".join(f"$${tex}$$" for tex in reply.text.split("\n\n"))
    return bundle


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
            f"--schema {text[:60]!r} is neither a JSON object nor a variable that holds one. "
            'Write it as --schema \'{"type": "object", …}\'.',
            "bad_request",
        )
    return value
