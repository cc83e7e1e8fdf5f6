"""A complete answer, how a notebook displays it, and where it came from. Knows nothing of how it was asked for."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass, field
from html import escape
from typing import Any, Literal, TypeAlias

from ...protocol.events import Usage
from .highlight import CONTROL
from .markdown import is_safe_tex, to_code, to_html, to_math
from .style import frame

FinishReason: TypeAlias = Literal["stop", "length", "stopped", "tool_calls"]
_NO_JSON: Any = object()

# a frame without scripts, forms, popups or the page's origin; nothing in it is loaded from anywhere
_POLICY = (
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"
    '<base target="_blank">'
)
_EXTERNAL_TAG = re.compile(
    r"<(?=/?(?:link|meta|base|iframe|frame|frameset|object|embed|portal|script)\b)", re.IGNORECASE
)
_TARGET = re.compile(r"\btarget(?=\s*=)", re.IGNORECASE)


@dataclass(frozen=True, repr=False)
class Reply:
    """A complete answer, as `--out NAME` stores it. `str(reply)` is its text.

    text: the answer; for `-f html`, `-f math` and `-f json` only that part. code: its code blocks. finish: "stop", "length"
    (the token limit was reached) or "stopped" (by the user). data: the value of `json`.
    """

    text: str
    format: str = "markdown"
    code: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)
    finish: FinishReason = "stop"
    data: Any = field(default=_NO_JSON, compare=False)

    @property
    def json(self) -> Any:
        """The parsed JSON of a reply to `-f json`."""
        if self.data is _NO_JSON:
            raise AttributeError(f"This reply is {self.format}, not JSON. Ask with -f json.")
        return self.data

    @property
    def model(self) -> str:
        return self.usage.model

    @property
    def seed(self) -> int | None:
        return self.usage.seed

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        blocks = f", {len(self.code)} code block{'s' if len(self.code) > 1 else ''}" if self.code else ""
        model = f", {self.model}" if self.model else ""
        return f"<Reply {textwrap.shorten(self.text, 60, placeholder='…')!r} ({self.format}{blocks}{model})>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        return to_bundle(self), {"jupyter_mistral": provenance(self)}

    def _repr_llm_(self) -> str:
        return self.text


@dataclass(frozen=True)
class FormattedAnswer:
    """A complete answer. next_cell: code to offer as a new cell. problem: what the format asked for and did not get."""

    reply: Reply
    body: str
    next_cell: str = ""
    problem: str = ""


def provenance(reply: Reply) -> dict[str, Any]:
    """The output metadata that records, in the saved notebook, how the answer was generated."""
    return {
        "generated": True,
        "model": reply.usage.model,
        "quantization": reply.usage.quantization,
        "seed": reply.usage.seed,
        "format": reply.format,
        "finish": reply.finish,
    }


def to_bundle(reply: Reply, body: str | None = None, foot: str = "") -> dict[str, str]:
    """The reply as display data. Never text/markdown, which JupyterLab does not sanitize."""
    bundle = {"text/plain": CONTROL.sub("", reply.text)}
    if reply.format != "text":
        bundle["text/html"] = frame(to_body(reply) if body is None else body, foot)
    if reply.format == "math" and all(map(is_safe_tex, reply.text.split("\n\n"))):
        bundle["text/latex"] = "\n".join(f"$${tex}$$" for tex in reply.text.split("\n\n"))
    return bundle


def to_body(reply: Reply) -> str:
    """The reply as HTML."""
    if reply.format == "json":
        return to_code(reply.text, "json")
    if reply.format == "html" and reply.code:
        source = f"<details><summary>Source</summary>{to_code(reply.text, 'html')}</details>"
        return f'<iframe sandbox="" srcdoc="{escape(to_document(reply.text))}"></iframe>{source}'
    if reply.format == "math":
        return "".join(f"<p>{to_math(tex, True)}</p>" for tex in reply.text.split("\n\n"))
    if reply.format == "text":
        return f"<pre>{escape(reply.text)}</pre>"
    return to_html(reply.text)


def to_document(html: str) -> str:
    """The HTML for the sandboxed frame: tags that could load or navigate (links, redirects, frames) become text."""
    return _POLICY + _TARGET.sub("data-target", _EXTERNAL_TAG.sub("&lt;", html))
