"""The side panel's chats in a notebook output, of plain ipywidgets, so that every front end shows them. Knows no HTTP."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from html import escape
from typing import Any

import ipywidgets as w
import traitlets as t

from ...protocol.events import Delta, End
from ...protocol.failures import Failure
from ..errors import MistralError, Stopped
from ..host.client import Client
from ..variables.describe import variables
from .chat_outputs import drawn, live
from .chats import Begun, Chats, Saved, Told, Turn, is_stopped
from .display import HZ
from .markdown import Markdown

NEW = ""
SETTLE_S = 0.2
UNSAVED = "Chats are not saved at the moment: the disk is full or cannot be written. They are kept in memory."
# each paragraph of a question reads from the side that its script begins at
STYLE = """<style>.jmi-chat textarea{unicode-bidi:plaintext;text-align:start}
.jmi-chat .jp-MistralImage .jp-MistralOutputButton{display:none}
.jmi-asked{white-space:pre-wrap;unicode-bidi:plaintext;border-inline-start:3px solid var(--jp-brand-color1,#fa520f);padding-inline-start:.8em}</style>"""


class ChatWidget(w.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """Ask in a cell's output; the chat is the one of that name in the side panel. `send` asks from code.

    chat: id of the chat to open; None begins a new one. sampling: such as {"max_tokens": 300}. namespace: where the variables are.
    busy: whether an answer is being written.
    """

    busy = t.Bool(False)

    def __init__(
        self,
        chat: str | None = None,
        chats: Chats | None = None,
        sampling: Mapping[str, Any] | None = None,
        namespace: Callable[[], dict[str, Any]] | None = None,
        **kwargs: Any,
    ) -> None:
        self._chats = chats or Chats()
        self._looking = Chats(lambda: Client.find(start=False)) if chats is None else chats
        self._sampling, self._namespace = dict(sampling or {}), namespace or _user_namespace
        self.chat = chat
        self._answer_id = ""
        self._done = threading.Event()
        self._failure: Failure | None = None
        self._text = ""
        self._is_stopping = self._is_offering = False
        self.messages = w.VBox([])
        self.status = w.HTML()
        self.picker = w.Dropdown(options=[("New chat", NEW)], layout=w.Layout(flex="1 1 auto", width="auto"))
        self.refresh_button = w.Button(
            icon="refresh", tooltip="Read the chats again", layout=w.Layout(width="2.6em", flex="0 0 auto")
        )
        self.input = w.Textarea(
            placeholder="Ask…",
            rows=3,
            layout=w.Layout(width="auto"),
            continuous_update=False,  # key by key, the text would lag behind the click on Send
        )
        self.send_button = w.Button(description="Send", button_style="primary", icon="paper-plane", tooltip="Send")
        self.stop_button = w.Button(description="Stop", icon="stop", disabled=True, tooltip="Stop the answer")
        self.variables = w.Checkbox(
            description="with the kernel's variables", value=False, indent=False, layout=w.Layout(width="auto")
        )
        super().__init__(
            [
                w.HTML(STYLE),
                w.HBox([self.picker, self.refresh_button]),
                self.messages,
                self.status,
                self.input,
                w.HBox([self.send_button, self.stop_button, self.variables]),
            ],
            **kwargs,
        )
        self.add_class("jmi-chat")
        self.send_button.add_class("jmi-send")  # by which our JupyterLab half finds it, for Enter
        self.send_button.on_click(lambda _: _soon(lambda: self.send(self.input.value)))
        self.stop_button.on_click(lambda _: self.stop())
        self.refresh_button.on_click(lambda _: self.refresh())
        self.picker.observe(lambda change: self._pick(change["new"]), "value")
        self.refresh()

    # ------------------------------------------------------------------------------------------ what a user does

    def send(self, prompt: str, wait: bool = False) -> str:
        """Ask. wait: return the whole answer when it is there, raise `MistralError` where it fails; else return "" at once."""
        if not prompt.strip():
            return ""
        if self.busy:
            self._say("An answer is being written: wait for it, or stop it.")
            if wait:
                raise MistralError("This chat is still answering. Wait for the answer or stop it.", "busy")
            return ""
        told = variables(self._namespace()) if self.variables.value else []
        self.input.value = ""  # before the thread begins: one that fails at once gives the question back
        self._begin(lambda: self._chats.ask(self.chat, prompt, told, self._sampling), None, prompt)
        return self._result() if wait else ""

    def stop(self) -> None:
        """End the answer: the model is free within a token, what is there stays."""
        self._is_stopping = True  # for an answer that has not begun yet
        if self.busy and self.chat and self._answer_id:
            try:
                self._chats.stop(self.chat, self._answer_id)
            except Failure as failure:
                self._say(str(failure))

    def refresh(self) -> None:
        """Read the list and the open chat again; follow an answer that is being written elsewhere."""
        if self.busy:
            return
        try:
            self._list()
            if self.chat is not None:
                self._open(self.chat)
            self.status.value = ""
        except Failure as failure:
            self._say(str(failure))

    # ------------------------------------------------------------------------------------------ chats

    def _list(self) -> None:
        rows = self._looking.rows()
        known = {chat for chat, _ in rows}
        if self.chat is not None and self.chat not in known:
            self.chat, self.messages.children = None, ()
        options = [("New chat", NEW), *((title or "Untitled", chat) for chat, title in rows)]
        self._offer(options)

    def _offer(self, options: list[tuple[str, str]]) -> None:
        """Fill the picker and point it at the open chat, without opening anything."""
        self._is_offering = True
        self.picker.options = _distinct(options)
        self.picker.value = self.chat or NEW
        self._is_offering = False

    def _pick(self, chat: str) -> None:
        if self._is_offering or self.busy or (chat or None) == self.chat:
            return
        self.chat = chat or None
        self.messages.children = ()
        self.refresh()

    def _open(self, chat: str) -> None:
        turns = self._looking.read(chat)
        self.messages.children = tuple(w.Output(outputs=drawn(turn)) for turn in turns)
        if turns and turns[-1].state == "streaming":
            last = turns[-1]
            self._begin(lambda: self._chats.follow(chat, last.id), self.messages.children[-1], "")
            self._answer_id = last.id

    # ------------------------------------------------------------------------------------------ the answer

    def _begin(self, told: Callable[[], Iterator[Told]], answer: w.Output | None, prompt: str) -> None:
        self._failure, self._text, self._answer_id, self._is_stopping = None, "", "", False
        self._show_busy(True)
        self._done = threading.Event()
        threading.Thread(target=self._work, args=(told, answer, prompt, self._done), daemon=True).start()

    def _result(self) -> str:
        # an event and not the thread's join, which takes a living thread for an ended one once it was interrupted
        # (Python 3.11 and older); in steps, so that the kernel's interrupt comes through
        try:
            while not self._done.wait(0.1):
                pass
        except KeyboardInterrupt:
            self.stop()
            self._done.wait()
            raise Stopped from None
        if self._failure is not None:
            raise MistralError.of_failure(self._failure)
        return self._text

    def _work(
        self, told: Callable[[], Iterator[Told]], answer: w.Output | None, prompt: str, done: threading.Event
    ) -> None:
        last, draw = 0.0, Markdown()
        usage = None
        try:
            for event in told():
                if isinstance(event, Begun):
                    answer = self._add(event)
                elif isinstance(event, Saved):
                    self._say("" if event.saved else UNSAVED)
                elif isinstance(event, Delta):
                    self._text += event.text
                elif isinstance(event, End):
                    usage = event.usage
                if answer is not None and time.monotonic() - last >= 1 / HZ:
                    last = time.monotonic()
                    answer.outputs = live(draw, self._text, event)
        except Failure as failure:
            self._failure = failure
        except Exception:  # the edge: a thread that dies in silence would leave the chat busy for ever
            self._failure = Failure("internal", "The chat broke off by a fault of Jupyter Mistral.", "Ask again.")
            raise
        finally:
            self._end(answer, prompt, usage)
            done.set()

    def _add(self, begun: Begun) -> w.Output:
        self.chat, self._answer_id = begun.chat, begun.answer.id
        answer = w.Output(outputs=drawn(begun.answer))
        self.messages.children = (*self.messages.children, w.Output(outputs=drawn(begun.question)), answer)
        self._say("" if begun.saved else UNSAVED)
        new, *others = self.picker.options
        if begun.chat not in [chat for _, chat in others]:
            self._offer([new, (begun.title or "Untitled", begun.chat), *others])
        if self._is_stopping:
            self.stop()
        return answer

    def _end(self, answer: w.Output | None, prompt: str, usage: Any) -> None:
        failure = self._failure
        if failure is not None and (answer is None or failure.code == "not_found"):
            self._say(str(failure))
            self.input.value = self.input.value or prompt  # nothing typed is lost
        else:
            state = "done" if failure is None else "interrupted" if is_stopped(failure) or self._text else "failed"
            note = "" if failure is None or is_stopped(failure) else str(failure)
            assert answer is not None
            answer.outputs = drawn(Turn(self._answer_id, "assistant", self._text, state, usage=usage, note=note))
        self._show_busy(False)

    def _show_busy(self, busy: bool) -> None:
        self.busy = busy
        self.send_button.disabled = self.picker.disabled = self.refresh_button.disabled = busy
        self.stop_button.disabled = not busy

    def _say(self, sentence: str) -> None:
        self.status.value = f'<span class="jmi-warn" dir="auto">{escape(sentence)}</span>' if sentence else ""


def show(chat: str | None = None) -> None:
    """Display a chat below the cell: the one of that id, else the newest. What `%mistral chat` does."""
    from IPython.display import display

    if chat is None:
        with suppress(Failure):  # no host runs yet: the first question starts one
            chat = next((found for found, _ in Chats(lambda: Client.find(start=False)).rows()), None)
    display(ChatWidget(chat))


def _soon(call: Callable[[], object]) -> None:
    """A click may overtake the text that was typed before it, while the kernel was busy: give that a moment to come."""
    try:
        asyncio.get_running_loop().call_later(SETTLE_S, call)
    except RuntimeError:  # no front end: a call from code
        call()


def _user_namespace() -> dict[str, Any]:
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    return dict(shell.user_ns) if shell is not None else {}


def _distinct(options: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """A dropdown shows labels only: the same title twice gets a number."""
    seen: dict[str, int] = {}
    found = []
    for label, chat in options:
        seen[label] = seen.get(label, 0) + 1
        found.append((label if seen[label] == 1 else f"{label} ({seen[label]})", chat))
    return found
