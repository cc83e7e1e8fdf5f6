"""How a model writes function calls, derived from its chat template, and the grammar that enforces it. Knows no torch.

Three dialects are known. `tagged`: one JSON object between <tool_call> tags (Hermes, Qwen). `array`: [TOOL_CALLS] and one JSON
array (Mistral's tokenizers up to v7). `named`: [TOOL_CALLS] name [ARGS] JSON, with [CALL_ID] id before [ARGS] in v11, without in v13.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ...protocol.conversation import Tool
from ...protocol.requests import Calling

OPEN, CLOSE, CALLS, CALL_ID, ARGS = "<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"
MARKS = (OPEN, CLOSE, CALLS, CALL_ID, ARGS)
PROBE_NAME = "probe"
# as templates write JSON; a model continues best in the form that it has read
_SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


@dataclass(frozen=True)
class Dialect:
    """has_id: whether a call carries its id between name and arguments."""

    kind: Literal["tagged", "array", "named"]
    has_id: bool = False

    @property
    def opening(self) -> str:
        """The mark that begins a call."""
        return OPEN if self.kind == "tagged" else CALLS


def dialect_of(rendered: str) -> Dialect | None:
    """The dialect of a template that rendered a call of the function `PROBE_NAME` like this; None if it supports no calls."""
    if PROBE_NAME not in rendered:
        return None
    if CALLS in rendered:
        return Dialect("named", CALL_ID in rendered) if ARGS in rendered else Dialect("array")
    return Dialect("tagged") if OPEN in rendered else None


def grammar(
    dialect: Dialect, calling: Calling, ids: Mapping[str, int], form: Mapping[str, Any] | None, is_begun: bool
) -> str:
    """An llguidance grammar in Lark syntax for an answer of calls only (or JSON of the schema `form`, if there is one).

    ids: the control tokens among the marks. is_begun: the opening mark is already written, and one round of calls follows.
    """
    tools = [tool for tool in calling.tools if calling.only in ("", tool.name)]
    several = calling.parallel and not calling.only
    writer = _Writer(dialect, ids)
    rules = [line for i, tool in enumerate(tools) for line in writer.rules(i, tool)]
    alternatives = "one: " + " | ".join(f"f{i}" for i in range(len(tools)))
    start = f"start: {writer.round(several)}" if is_begun else f"start: {writer.rounds(several)}"
    if form is not None:
        start += " | whole"
        rules.append(f"whole: {_json(form)}")
    return "\n".join([start, alternatives, *rules])


class _Writer:
    def __init__(self, dialect: Dialect, ids: Mapping[str, int]) -> None:
        self._dialect, self._ids = dialect, ids

    def _mark(self, name: str) -> str:
        return f"<[{self._ids[name]}]>" if name in self._ids else json.dumps(name)

    def round(self, several: bool) -> str:
        """What follows one opening mark."""
        if self._dialect.kind == "tagged":
            return rf'"\n" one "\n" {self._mark(CLOSE)}'
        if self._dialect.kind == "array":
            return '"[" one (", " one)* "]"' if several else '"[" one "]"'
        return "one"

    def rounds(self, several: bool) -> str:
        opening, body = self._mark(self._dialect.opening), self.round(several)
        if not several or self._dialect.kind == "array":
            return f"{opening} {body}"
        between = r'"\n" ' if self._dialect.kind == "tagged" else ""
        return f"{opening} {body} ({between}{opening} {body})*"

    def rules(self, i: int, tool: Tool) -> list[str]:
        arguments = f"a{i}: {_json(tool.parameters)}"
        if self._dialect.kind == "named":
            identity = f" {self._mark(CALL_ID)} /[a-zA-Z0-9]{{9}}/" if self._dialect.has_id else ""
            return [f"f{i}: {json.dumps(tool.name)}{identity} {self._mark(ARGS)} a{i}", arguments]
        head = json.dumps('{"name": ' + json.dumps(tool.name) + ', "arguments": ')
        identity = r' (", \"id\": \"" /[a-zA-Z0-9]{9}/ "\"")?' if self._dialect.kind == "array" else ""
        return [f'f{i}: {head} a{i}{identity} "}}"', arguments]


def _json(schema: Mapping[str, Any]) -> str:
    full = {"type": "object", **schema} if "type" not in schema and "anyOf" not in schema else schema
    return "%json " + json.dumps({"x-guidance": _SPACING, **full})
