"""What the JupyterLab panel asks this kernel: the functions that `extension/src/notebook/kernel.ts` calls."""

from __future__ import annotations

from typing import Any

from .figures import history
from .variables.describe import variables

__all__ = ["facts_of_image", "facts_of_run", "variables", "watch_figures"]


def watch_figures(shell: Any) -> None:
    """Keep the facts of each figure from now on: the inline backend closes figures as soon as it has shown them."""
    history.install(shell)


def facts_of_run(shell: Any, run: int) -> list[str]:
    """The facts of the figures that cell `In[run]` showed."""
    return [str(seen.facts) for seen in history.install(shell).of(run)]


def facts_of_image(shell: Any, end: str) -> list[str]:
    """The facts of the newest figure whose image ends with `end`, in base64."""
    return [str(seen.facts) for seen in history.install(shell).ending(end)]
