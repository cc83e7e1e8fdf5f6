"""A real IPython shell with the magics loaded."""

from __future__ import annotations

from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

PLOT = (
    "from matplotlib.figure import Figure\nfig = Figure(); ax = fig.subplots(); ax.plot([1, 5, 2], label='speed')\nfig"
)


class Shell:
    """A terminal's IPython without the terminal."""

    def __init__(self) -> None:
        self.ip = InteractiveShell()
        self.ip.run_line_magic("load_ext", "jupyter_mistral")

    def run(self, cell: str) -> tuple[str, BaseException | None]:
        """Run a cell; return what it prints and the error that it ends with."""
        with capture_output() as out:
            self._out = out
            result = self.ip.run_cell(cell, store_history=True)
        return out.stdout + out.stderr, result.error_in_exec or result.error_before_exec

    def has_shown(self, text: str) -> bool:
        """Whether the running cell has printed `text`."""
        return text in self._out.stdout
