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
from ..figures.history import shown_by
from ..figures.questions import can_see
from ..host.client import Client
from ..show.highlight import CONTROL
from ..variables.executed_cells import path_of
from .notebook import Place
from .review import Review, Tell, review

RELOAD = "If the notebook is open, take it over with File ▸ Reload from Disk."
_COLOURS = {"+": "f", "-": "s", "@": "d"}


class AltMagic:
    """Keeps the last review of this kernel, so that `--apply` writes exactly what was shown."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._last: Review | None = None

    def make(self, words: tuple[str, ...], client: Client, model: str | None, tell: Tell) -> Review:
        """Raises `Failure` and `MistralError`."""
        path = self._path(words)
        self._last = None
        self._last = review(
            path,
            client,
            can_see(client, model),
            tell,
            model=model,
            overwrite="--overwrite" in words,
            facts_of=self._facts if path == path_of(self._shell.user_ns) else _no_facts,
        )
        return self._last

    def apply(self) -> str:
        """Write what was shown last. Raises `MistralError` where nothing was."""
        if self._last is None:
            raise MistralError("No alt texts were shown yet. `%mistral alt` shows them first.")
        found, self._last = self._last, None
        count = found.apply()
        name = found.notebook.path.name
        if not count:
            return f"Nothing was to be written into {name}."
        return f"Wrote {count} alt text{'' if count == 1 else 's'} into {name}. {RELOAD}"

    def is_last(self, found: Review) -> bool:
        return self._last is found

    def _path(self, words: tuple[str, ...]) -> Path:
        named = [word for word in words if word.endswith(".ipynb")]
        path = Path(named[0]) if named else path_of(self._shell.user_ns)
        if path is None:
            raise MistralError("This kernel does not know its notebook's file. Name it: `%mistral alt NOTEBOOK.ipynb`.")
        return path

    def _facts(self, place: Place, bundle: Mapping[str, Any]) -> Facts | None:
        """The numbers of a figure that this kernel drew: told by its pixels, since prompt numbers start again."""
        shown = shown_by(self._shell)
        held = next((bundle[mime] for mime in IMAGE_TYPES if isinstance(bundle.get(mime), str)), None)
        if shown is None or held is None:
            return None
        try:
            return shown.of_picture(base64.b64decode(held))
        except (binascii.Error, ValueError):
            return None


def _no_facts(place: Place, bundle: Mapping[str, Any]) -> Facts | None:
    return None


def to_html(found: Review) -> str:
    """The diff, coloured, and what it comes to."""
    lines = []
    for line in CONTROL.sub("", found.diff()).splitlines():
        kind = _COLOURS.get(line[:1])
        text = escape(line)
        lines.append(f'<span class="{kind}">{text}</span>' if kind else text)
    body = "\n".join(lines)
    return f'<pre style="white-space:pre-wrap">{body}</pre><p>{escape(found.summary())}</p>'


def button(magic: AltMagic, found: Review) -> Any:
    """An ipywidgets button that writes the changes, once."""
    import ipywidgets

    count = len(found.changes)
    label = f"Write {count} alt text{'' if count == 1 else 's'} into {found.notebook.path.name}"
    pressed = ipywidgets.Button(description=label, icon="check", layout={"width": "auto"})
    told = ipywidgets.HTML()

    def write(_: Any) -> None:
        pressed.disabled = True
        told.value = escape(
            _said(magic.apply) if magic.is_last(found) else "Newer alt texts were shown since, or these were written."
        )

    pressed.on_click(write)
    return ipywidgets.HBox([pressed, told])


def _said(act: Callable[[], str]) -> str:
    """A button has no cell to fail in: its failure is shown beside it."""
    try:
        return act()
    except (Failure, MistralError) as failure:
        return str(failure)
