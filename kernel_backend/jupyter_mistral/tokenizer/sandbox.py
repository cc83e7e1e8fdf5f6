"""Jinja's sandbox for chat templates, with a bound on the number of steps that a template may take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any

from jinja2 import nodes, pass_context
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ..protocol.failures import Failure

# loop rounds and calls in one rendering: a thousand messages take tens of thousands; this many take about a second
MAX_STEPS = 200_000
_STEPS = "\ue000steps"  # a name that no template can use


def variables(**values: Any) -> dict[str, Any]:
    """The variables of one rendering, with a new step counter."""
    return {**values, _STEPS: count(1)}


class GenerationTag(Extension):
    """`{% generation %}`, by which templates mark the assistant's text for training: rendered as its content."""

    tags = {"generation"}  # as jinja declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class Sandbox(ImmutableSandboxedEnvironment):
    """Set up as in transformers, but a template that does not end raises `Failure`.

    Jinja itself bounds only `range`: nested loops and recursive macros could run forever.
    """

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", GenerationTag])
        self.filters[_STEPS] = _counted

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for loop in tree.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, _STEPS, [], [], None, None, lineno=loop.lineno)
        return tree

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        _step(context)
        if isinstance(obj, LoopContext):  # a recursive loop continues with its arguments
            args = tuple(_counted(context, values) for values in args)
            kwargs = {name: _counted(context, values) for name, values in kwargs.items()}
        return super().call(context, obj, *args, **kwargs)


@pass_context
def _counted(context: Context, values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        _step(context)
        yield value


def _step(context: Context) -> None:
    if next(context.parent[_STEPS]) > MAX_STEPS:
        message = f"The model's chat template takes more than {MAX_STEPS:,} steps."
        raise Failure("corrupt_model", message, "Load another model, or download this one from a source you trust.")
