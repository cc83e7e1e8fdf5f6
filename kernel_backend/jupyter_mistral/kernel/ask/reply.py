"""What an answer is once it is whole: what `--out NAME` stores. Knows nothing of how it was asked for."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from typing import Any, Literal

from ...protocol.events import Usage

_NOTHING: Any = object()


@dataclass(frozen=True, repr=False)
class Reply:
    """An answer. `str(reply)` is its text.

    text: the answer; for `-f html`, `-f math` and `-f json` only that. code: its code blocks. finish: "stop", "length" (cut at its
    longest) or "stopped" (by the user). data: what `json` gives.
    """

    text: str
    format: str = "markdown"
    code: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)
    finish: Literal["stop", "length", "stopped", "tool_calls"] = "stop"
    data: Any = field(default=_NOTHING, compare=False)

    @property
    def json(self) -> Any:
        """The parsed JSON of a reply asked for with `-f json`."""
        if self.data is _NOTHING:
            raise AttributeError(f"This reply is {self.format}, not JSON: ask with -f json.")
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
        by = f", {self.model}" if self.model else ""
        return f"<Reply {textwrap.shorten(self.text, 60, placeholder='…')!r} ({self.format}{blocks}{by})>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        from .formats import to_bundle  # formats makes replies

        return to_bundle(self), {"jupyter_mistral": provenance(self)}

    def _repr_llm_(self) -> str:
        return self.text


def provenance(reply: Reply) -> dict[str, Any]:
    """Where an output comes from: the metadata that goes into the saved notebook."""
    return {
        "generated": True,
        "model": reply.usage.model,
        "quantization": reply.usage.quantization,
        "seed": reply.usage.seed,
        "format": reply.format,
        "finish": reply.finish,
    }
