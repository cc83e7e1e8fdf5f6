"""The functions that the JupyterLab panel calls in the kernel, from `extension/src/notebook/kernel.ts`."""

from __future__ import annotations

from typing import Any

from .figures import history
from .variables.describe import variables

__all__ = ["facts_of_image", "facts_of_run", "variables", "watch_figures"]


def watch_figures(shell: Any) -> None:
    """Record the facts of each figure from now on: the inline backend closes figures as soon as it has shown them."""
    history.install(shell)


def facts_of_run(shell: Any, run: int) -> list[str]:
    """Return the facts of the figures that cell `In[run]` showed."""
    return [str(figure.facts) for figure in history.install(shell).of_cell(run)]


def facts_of_image(shell: Any, end: str) -> list[str]:
    """Return the facts of the newest figure whose image ends with `end` in base64."""
    return [str(figure.facts) for figure in history.install(shell).ending_with(end)]
