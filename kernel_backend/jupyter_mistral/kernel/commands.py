"""The subcommands of `%mistral`: each a small method that asks the host or changes this kernel's settings."""

from __future__ import annotations

import math
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, Any, cast

from IPython.core.error import UsageError

from .._version import __version__
from ..protocol.events import Loading
from ..protocol.failures import Failure
from . import reading
from .alt.magic import AltMagic
from .alt.magic import button as alt_button
from .alt.magic import to_html as alt_html
from .documents import harmless
from .errors import MistralError, Stopped
from .figures import questions
from .host import gpu_loan
from .host.client import Client
from .line.arguments import COMMANDS, LAST_FIGURE, Command, load_words, reference
from .line.manual import MANUAL
from .line.terminal_text import to_plain
from .show.display import HZ, bar, progress_of
from .show.markdown import to_html
from .show.style import frame
from .show.tables import models_table, status_table
from .variables.cell_errors import CellError, to_prompt

if TYPE_CHECKING:
    from .magics import MistralMagics

FIX = "Say in one or two sentences what went wrong, then give the whole corrected cell in one ```python block."
EXPLAIN_ERROR = "Explain briefly what this error means, why it happened here, and how to correct it."
EXPLAIN_CELL = "Explain briefly what this cell does, step by step, and anything in it that could go wrong."


class Commands:
    """The subcommands for one shell's magics."""

    def __init__(self, magics: MistralMagics) -> None:
        self._magics = magics
        self._alt_magic = AltMagic(magics.shell)
        one = {"register": "alias", "delete": "dealias", "error": "explain"}
        self._table: dict[str, Callable[[Command], None]] = {
            name: getattr(self, f"_{one.get(name, name)}") for name in COMMANDS
        }

    def run(self, command: Command) -> None:
        """Raises `UsageError`, `MistralError` or `Failure`, never prints an error."""
        self._table[command.name](command)

    # ---------------------------------------------------------------------------- about this room

    def _help(self, command: Command) -> None:
        self._show(MANUAL)

    def _version(self, command: Command) -> None:
        self._show(f"Jupyter Mistral {__version__}")

    def _reset(self, command: Command) -> None:
        count, papers = len(self._magics.conversation), len(self._magics.conversation.papers)
        self._magics.conversation.clear()
        more = f" and {papers} document{'' if papers == 1 else 's'}" if papers else ""
        self._show(f"Forgot {count} exchange{'' if count == 1 else 's'}{more}.")

    def _history(self, command: Command) -> None:
        sent = self._magics.max_history
        parts = []
        for exchange in self._magics.conversation.last(20):
            question = textwrap.shorten(exchange.question, 200, placeholder=" …")
            parts.append(f"**[{exchange.number}]** {question}\n\n> " + exchange.answer.strip().replace("\n", "\n> "))
        self._show(
            "\n\n".join([*parts, f"The last {sent} go along with a question."]) if parts else "Nothing was asked yet."
        )

    # ---------------------------------------------------------------------------- short names

    def _alias(self, command: Command) -> None:
        if not command.words:
            rows = "\n".join(f"| `{name}` | {target} |" for name, target in self._magics.aliases.items())
            none = "There is no alias yet. `%mistral alias NAME MODEL` makes one."
            self._show(f"| alias | model |\n|---|---|\n{rows}" if rows else none)
            return
        name, target = command.words
        if name in COMMANDS:
            raise UsageError(f"{name} is a command of %mistral. Take another name.")
        self._magics.aliases = {**self._magics.aliases, name: self._magics.resolve(target)}
        self._show(f"`{name}` is now `{self._magics.aliases[name]}`: `%%mistral {name}` asks it.")

    def _update(self, command: Command) -> None:
        self._known(command.words[0])
        self._alias(command)

    def _dealias(self, command: Command) -> None:
        name = self._known(command.words[0])
        self._magics.aliases = {k: v for k, v in self._magics.aliases.items() if k != name}
        self._show(f"`{name}` is no alias any more.")

    def _known(self, name: str) -> str:
        aliases = self._magics.aliases
        if name not in aliases:
            there = f"There are: {', '.join(aliases)}." if aliases else "There is none yet."
            raise UsageError(f"There is no alias {name!r}. {there} (To ask it as a question: %mistral -- …)")
        return name

    # ---------------------------------------------------------------------------- the host

    def _status(self, command: Command) -> None:
        try:
            client = Client.find(start=False)
        except Failure as failure:
            if failure.code != "engine_stopped":
                raise
            self._show("No model host is running: the first question, or `%mistral load`, starts one.")
            return
        self._show(status_table(client.get("/mistral/api/status")))

    def _list(self, command: Command) -> None:
        client = Client.find(say=self._magics.say)
        rows, default = client.get("/mistral/api/models"), client.get("/mistral/api/status").get("default_model")
        rows = rows.get("models", rows) if isinstance(rows, dict) else rows
        if command.words == ("local",):
            rows = [row for row in rows if row.get("state") in ("ready", "on disk")]
        self._show(
            models_table(rows, str(default or ""))
            if rows
            else "No model is on disk: `%mistral load` fetches the default one."
        )

    def _load(self, command: Command) -> None:
        found = load_words(command.words)
        assert found is not None, "the grammar let it through"
        asked, may_download, kv, adapter, spill = found
        name = self._magics.resolve(asked or self._magics.model) or None
        client = Client.find(say=self._magics.say)
        progress = _Progress(self._magics.is_notebook)
        try:
            for event in client.load(name, download=may_download, kv=kv, adapter=adapter, spill=spill):
                progress.show(event)
        except KeyboardInterrupt:
            progress.end("Stopped loading.")
            raise Stopped from None
        except BaseException:
            progress.end("Not loaded.")
            raise
        card = client.get("/mistral/api/status").get("model") or {}
        progress.end(f"{card.get('title') or card.get('name') or name} is ready.")

    def _unload(self, command: Command) -> None:
        Client.find(start=False).post("/mistral/api/unload")
        self._show("The model is unloaded: its memory is free.")

    def _park(self, command: Command) -> None:
        Client.find(start=False).post("/mistral/api/park")
        self._show("The GPU is yours: the model waits in host memory, and the next question brings it back.")

    def _chat(self, command: Command) -> None:
        if not self._magics.is_notebook:
            raise MistralError("A chat needs a notebook to be shown in. Here, ask with `%mistral your question`.")
        from .show.chat_widget import show  # ipywidgets costs a tenth of a second

        show()

    # ---------------------------------------------------------------------------- documents

    def _read(self, command: Command) -> None:
        order = reading.parse(command.words, command.options.out)
        progress = _Progress(self._magics.is_notebook)
        try:
            paper = reading.fetch(order, Client.find(say=self._magics.say), progress.tell)
        except KeyboardInterrupt:
            progress.end("Stopped reading.")
            raise Stopped from None
        except BaseException:
            progress.end("Not read.")
            raise
        told, shell = reading.summary(paper), cast(Any, self._magics.shell)
        if order.to_cell:
            shell.set_next_input(f"%%markdown\n{harmless(paper.markdown)}", replace=False)
        elif order.out:
            shell.push({order.out: paper}, interactive=True)
            told += f" `{order.out}.markdown` holds it; {{{order.out}}} in a question fills it in."
        else:
            self._magics.conversation.add_paper(paper)
            told += " The questions that follow see it; `%mistral reset` forgets it."
        progress.end(to_plain(told))

    def _alt(self, command: Command) -> None:
        if "--apply" in command.words:
            if len(command.words) > 1:
                raise UsageError("--apply writes what `%mistral alt` showed last: it stands alone.")
            self._show(self._alt_magic.apply())
            return
        client = Client.find(say=self._magics.say)
        progress = _Progress(self._magics.is_notebook)
        try:
            found = self._alt_magic.make(
                command.words, client, self._magics.model_of(command.options), progress.show_figure
            )
        except KeyboardInterrupt:
            progress.end("Stopped: nothing was written.")
            raise Stopped from None
        except BaseException:
            progress.end("No alt texts.")
            raise
        progress.end(found.summary())
        if not self._magics.is_notebook:
            self._magics.say(found.diff() + ("\n`%mistral alt --apply` writes this." if found.changes else ""))
            return
        from IPython.display import display

        display({"text/html": frame(alt_html(found)), "text/plain": found.diff()}, raw=True)
        if found.changes:
            display(alt_button(self._alt_magic, found))

    # ---------------------------------------------------------------------------- errors

    def _fix(self, command: Command) -> None:
        error = self._error(command)
        offer = gpu_loan.offer(error, Client.find(say=self._magics.say))
        if offer:
            self._show(offer)
            return
        text = to_prompt(error, self._magics.namespace)
        # the error is told whole: what was said before would only lead a small model away from it. Greedy, so that what
        # stays of the cell is copied by prompt lookup
        options = replace(command.options, use_history=False, sampling={"temperature": 0.0} | command.options.sampling)
        said = f"Fix the {error.name} in In[{error.number}]."
        self._magics.ask(f"{text}\n\n{FIX}", options, said, "code", instructed=True, failed=error.cell)

    def _explain(self, command: Command) -> None:
        number = reference(command.words[0]) if command.words else None
        if command.words and number is None:
            self._explain_named(command, command.words[0])
            return
        if self._explain_figures(command, number):
            return
        if number is not None and self._magics.errors.find(number) is None:
            self._explain_cell(command, number)
            return
        if command.name == "explain" and not command.words and self._magics.errors.last is None:
            raise MistralError(
                "Nothing has failed and no figure was shown in this kernel yet: run a cell that fails or draws, or name one "
                "that ran: `%mistral explain 3`."
            )
        error = self._error(command)
        text = to_prompt(error, self._magics.namespace)
        said = f"Explain the {error.name} in In[{error.number}]."
        self._magics.ask(f"{text}\n\n{EXPLAIN_ERROR}", command.options, said)

    def _explain_named(self, command: Command, name: str) -> None:
        """A figure in a variable, a picture's file, or the last figure whatever failed since."""
        if name != LAST_FIGURE:
            figures = questions.find([name], self._magics.shell)
        else:
            last = questions.newest(self._magics.shell)
            if last is None:
                raise MistralError(
                    "No figure was shown in this kernel yet. Run the cell that draws it, then ask again."
                )
            figures = [last[1]]
        said = f"Explain {name if name == LAST_FIGURE else f'the figure {name}'}."
        self._ask_about(figures, command, said)

    def _explain_figures(self, command: Command, number: int | None) -> bool:
        """Those of a cell that did not fail; without a number the last figure, unless a cell has failed since."""
        shell, errors = self._magics.shell, self._magics.errors
        if command.name == "error":
            return False
        if number is not None:
            figures = [] if errors.find(number) else questions.of_cell(shell, number)
            said = f"Explain the figure of In[{number}]."
        else:
            last = questions.newest(shell)
            is_newest = last is not None and (errors.last is None or last[0] > errors.last.number)
            figures, said = ([last[1]] if last is not None and is_newest else []), "Explain the last figure."
        if number is not None and not any(figure.facts.has_numbers for figure in figures):
            client = Client.find(say=self._magics.say) if figures else None
            if client is None or not questions.can_see(client, self._magics.model_of(command.options)):
                return False  # a picture that nobody here can read: then the cell is explained
        if figures:
            self._ask_about(figures, command, said)
        return bool(figures)

    def _ask_about(self, figures: Sequence[questions.Figure], command: Command, said: str) -> None:
        # told whole: earlier answers about other figures would only lead a small model to repeat their numbers
        options = replace(command.options, use_history=False)
        self._magics.ask(questions.EXPLAIN, options, said, figures=figures)

    def _explain_cell(self, command: Command, number: int) -> None:
        inputs = self._magics.inputs
        if not 0 < number < len(inputs) - 1 or not inputs[number].strip():
            raise MistralError(
                f"There is no cell In[{number}] in this kernel. Its number stands left of the cell that ran."
            )
        cell = f"Cell In[{number}]:\n```python\n{inputs[number].strip()}\n```"
        self._magics.ask(f"{cell}\n\n{EXPLAIN_CELL}", command.options, f"Explain In[{number}].")

    def _error(self, command: Command) -> CellError:
        if not command.words:
            if self._magics.errors.last is None:
                raise MistralError("No cell has failed in this kernel yet. Run the cell that fails, then ask again.")
            return self._magics.errors.last
        number = reference(command.words[0])
        found = self._magics.errors.find(number) if number is not None else None
        if found is None:
            known = ", ".join(map(str, self._magics.errors)) or "none"
            raise MistralError(f"Cell In[{number}] did not fail in this kernel. Cells that failed: {known}.")
        return found

    def _show(self, markdown: str) -> None:
        if self._magics.is_notebook:
            from IPython.display import display

            display({"text/html": frame(to_html(markdown)), "text/plain": markdown.strip()}, raw=True)
        else:
            self._magics.say(to_plain(markdown))


class _Progress:
    """One line about something that takes long: a bar in a notebook, a line written over in a terminal."""

    def __init__(self, is_notebook: bool) -> None:
        self._is_notebook = is_notebook
        self._handle: Any = None
        self._last = -math.inf
        self._stage = ""

    def show(self, event: Loading) -> None:
        now = time.monotonic()
        if now - self._last < 1 / HZ and event.stage == self._stage:
            return
        self._last, self._stage = now, event.stage
        sentence, fraction = progress_of(event)
        self.tell(f"{sentence} · {event.detail}" if event.detail else sentence, fraction)

    def tell(self, sentence: str, fraction: float | None) -> None:
        self._put(bar(sentence, fraction), sentence, live=True)

    def show_figure(self, done: int, of: int, what: str) -> None:
        """The next figure that alt text is written for."""
        if done < of:
            self._put(bar(f"Figure {done + 1} of {of}: {what}", done / of), f"Figure {done + 1} of {of}", live=True)

    def end(self, sentence: str) -> None:
        self._put(escape(sentence), sentence)
        if not self._is_notebook:
            print()

    def _put(self, html: str, text: str, live: bool = False) -> None:
        if not self._is_notebook:
            if sys.stdout.isatty():
                print(f"\r\x1b[2K{text}", end="", flush=True)
            elif not live:
                print(text, end="")
            return
        from IPython.display import display

        bundle = {"text/html": frame("", html, live), "text/plain": text}
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)
