"""Where chat templates are rendered outside the engine: jinja's sandbox, with a bound on how long a template may go on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any

from jinja2 import nodes, pass_context
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ...protocol.failures import Failure

# rounds of loops and calls in one rendering: a thousand messages take some tens of thousands, these a second or so
MOST_STEPS = 200_000
_STEPS = "\ue000steps"  # no name that a template could write


def variables(**given: Any) -> dict[str, Any]:
    """What a template is rendered with: its steps are counted anew."""
    return {**given, _STEPS: count(1)}


class Sandbox(ImmutableSandboxedEnvironment):
    """As transformers sets it up for every model, but a template that goes on and on ends in a `Failure`.

    Jinja itself bounds `range` alone: loops in loops, and macros that call themselves twice, would have no end.
    """

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
        self.filters[_STEPS] = _counted

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for loop in tree.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, _STEPS, [], [], None, None, lineno=loop.lineno)
        return tree

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        _step(context)
        if isinstance(obj, LoopContext):  # a recursive loop goes on with what it is given here
            args = tuple(_counted(context, values) for values in args)
            kwargs = {name: _counted(context, values) for name, values in kwargs.items()}
        return super().call(context, obj, *args, **kwargs)


@pass_context
def _counted(context: Context, values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        _step(context)
        yield value


def _step(context: Context) -> None:
    if next(context.parent[_STEPS]) > MOST_STEPS:
        what = f"The model's chat template goes on for more than {MOST_STEPS:,} steps."
        raise Failure("corrupt_model", what, "Load another model, or this one from where you trust it.")
