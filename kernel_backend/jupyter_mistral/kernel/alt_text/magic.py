"""`%mistral alt` in a kernel: the diff in the cell's output, and a button that writes it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from ...protocol.failures import Failure
from ...protocol.images import IMAGE_TYPES
from ..errors import MistralError
from ..figures import Facts
from ..figures.history import history_of
from ..figures.questions import can_see
from ..host.client import Client
from ..show.highlight import CONTROL
from ..variables.executed_cells import find_notebook
from .notebook import FigureOutput
from .review import Review, ShowProgress, make_review

RELOAD = "If the notebook is open, choose File ▸ Reload Notebook from Disk."
_LINE_CLASSES = {"+": "f", "-": "s", "@": "d"}


class AltMagic:
    """Keeps the kernel's last review, so that `--apply` writes exactly what was shown."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._last: Review | None = None

    def make(self, words: tuple[str, ...], client: Client, model: str | None, show_progress: ShowProgress) -> Review:
        """Raises `Failure` and `MistralError`."""
        path = self._path(words)
        self._last = None
        is_this_notebook = path == find_notebook(self._shell.user_ns)
        self._last = make_review(
            path,
            client,
            can_see(client, model),
            show_progress,
            model=model,
            overwrite="--overwrite" in words,
            facts_of=self._facts if is_this_notebook else _no_facts,
        )
        return self._last

    def apply(self) -> str:
        """Write the last review. Raises `MistralError` if there is none."""
        if self._last is None:
            raise MistralError("No alt text was shown yet. Run `%mistral alt` first.")
        review, self._last = self._last, None
        count = review.apply()
        name = review.notebook.path.name
        if not count:
            return f"There was nothing to write to {name}."
        return f"Wrote {count} alt text{'' if count == 1 else 's'} to {name}. {RELOAD}"

    def is_last(self, review: Review) -> bool:
        return self._last is review

    def _path(self, words: tuple[str, ...]) -> Path:
        names = [word for word in words if word.endswith(".ipynb")]
        path = Path(names[0]) if names else find_notebook(self._shell.user_ns)
        if path is None:
            raise MistralError("The kernel does not know its notebook file. Name it: `%mistral alt NOTEBOOK.ipynb`.")
        return path

    def _facts(self, figure: FigureOutput, bundle: Mapping[str, Any]) -> Facts | None:
        """The numbers of a figure that this kernel drew, found by its image: prompt numbers restart with the kernel."""
        history = history_of(self._shell)
        data = next((bundle[mime] for mime in IMAGE_TYPES if isinstance(bundle.get(mime), str)), None)
        if history is None or data is None:
            return None
        try:
            return history.facts_of_image(base64.b64decode(data))
        except (binascii.Error, ValueError):
            return None


def _no_facts(figure: FigureOutput, bundle: Mapping[str, Any]) -> Facts | None:
    return None


def to_html(review: Review) -> str:
    """The coloured diff and its summary."""
    lines = []
    for line in CONTROL.sub("", review.diff()).splitlines():
        name, text = _LINE_CLASSES.get(line[:1]), escape(line)
        lines.append(f'<span class="{name}">{text}</span>' if name else text)
    body = "\n".join(lines)
    return f'<pre style="white-space:pre-wrap">{body}</pre><p>{escape(review.summary())}</p>'


def make_button(magic: AltMagic, review: Review) -> Any:
    """An ipywidgets button that writes the changes once."""
    import ipywidgets

    count = len(review.changes)
    label = f"Write {count} alt text{'' if count == 1 else 's'} to {review.notebook.path.name}"
    button = ipywidgets.Button(description=label, icon="check", layout={"width": "auto"})
    message = ipywidgets.HTML()

    def write(_: Any) -> None:
        button.disabled = True
        outdated = "This alt text was already written, or newer alt text was shown."
        message.value = escape(_try(magic.apply) if magic.is_last(review) else outdated)

    button.on_click(write)
    return ipywidgets.HBox([button, message])


def _try(action: Callable[[], str]) -> str:
    """A button has no cell that could fail, so its error is returned and shown beside it."""
    try:
        return action()
    except (Failure, MistralError) as failure:
        return str(failure)
