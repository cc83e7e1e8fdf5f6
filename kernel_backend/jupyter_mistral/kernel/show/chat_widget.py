"""The side panel's chats in a notebook output, built of plain ipywidgets so that every front end shows them. Knows no HTTP."""

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
from .chat_outputs import draw_live, draw_message
from .chats import AnswerStarted, ChatEvent, ChatMessage, Chats, SaveState, is_stopped
from .display import HZ
from .markdown import Markdown

NEW = ""  # the picker's value for a new chat
CLICK_DELAY_S = 0.2
UNSAVED = "Chats cannot be saved: the disk is full or not writable. They are kept in memory for now."
# each paragraph of a question is aligned to the side that its script starts from
STYLE = """<style>.jmi-chat textarea{unicode-bidi:plaintext;text-align:start}
.jmi-chat .jp-MistralImage .jp-MistralOutputButton{display:none}
.jmi-asked{white-space:pre-wrap;unicode-bidi:plaintext;border-inline-start:3px solid var(--jp-brand-color1,#fa520f);padding-inline-start:.8em}</style>"""


class ChatWidget(w.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """A chat in a cell's output, shared with the side panel. `send` asks from code.

    chat: id of the chat to open; None starts a new one. sampling: such as {"max_tokens": 300}. namespace: returns the
    variables. busy: whether an answer is being generated.
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
        # reading the chats never starts a host
        self._reader = Chats(lambda: Client.find(start=False)) if chats is None else chats
        self._sampling, self._namespace = dict(sampling or {}), namespace or _user_namespace
        self.chat = chat
        self._answer_id = ""
        self._done = threading.Event()
        self._failure: Failure | None = None
        self._text = ""
        self._is_stopping = self._is_filling_picker = False
        self._make_controls()
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
        self._connect_controls()
        self.refresh()

    def _make_controls(self) -> None:
        self.messages = w.VBox([])
        self.status = w.HTML()
        self.picker = w.Dropdown(options=[("New chat", NEW)], layout=w.Layout(flex="1 1 auto", width="auto"))
        self.refresh_button = w.Button(
            icon="refresh", tooltip="Refresh", layout=w.Layout(width="2.6em", flex="0 0 auto")
        )
        self.input = w.Textarea(
            placeholder="Ask anything…",
            rows=3,
            layout=w.Layout(width="auto"),
            continuous_update=False,  # sent key by key, the text would arrive after the click on Send
        )
        self.send_button = w.Button(description="Send", button_style="primary", icon="paper-plane", tooltip="Send")
        self.stop_button = w.Button(description="Stop", icon="stop", disabled=True, tooltip="Stop the answer")
        self.variables = w.Checkbox(
            description="Include variables", value=False, indent=False, layout=w.Layout(width="auto")
        )

    def _connect_controls(self) -> None:
        self.send_button.add_class("jmi-send")  # our JupyterLab extension finds it by this class, for Enter
        self.send_button.on_click(lambda _: _call_after_typing(lambda: self.send(self.input.value)))
        self.stop_button.on_click(lambda _: self.stop())
        self.refresh_button.on_click(lambda _: self.refresh())
        self.picker.observe(lambda change: self._pick(change["new"]), "value")

    # ------------------------------------------------------------------------------------------ the user's actions

    def send(self, prompt: str, wait: bool = False) -> str:
        """Ask. With `wait`, return the complete answer or raise `MistralError`; otherwise return "" at once."""
        if not prompt.strip():
            return ""
        if self.busy:
            self._say("An answer is being generated. Wait for it, or stop it.")
            if wait:
                raise MistralError("This chat is still answering. Wait for the answer, or stop it.", "busy")
            return ""
        sent_variables = variables(self._namespace()) if self.variables.value else []
        self.input.value = ""  # before the thread starts: if it fails at once, it restores the question
        self._start(lambda: self._chats.ask(self.chat, prompt, sent_variables, self._sampling), None, prompt)
        return self._wait_for_answer() if wait else ""

    def stop(self) -> None:
        """Stop the answer within one token; the partial answer stays."""
        self._is_stopping = True  # for an answer that has not started yet
        if self.busy and self.chat and self._answer_id:
            try:
                self._chats.stop(self.chat, self._answer_id)
            except Failure as failure:
                self._say(str(failure))

    def refresh(self) -> None:
        """Reload the list and the open chat, and follow an answer that is being generated elsewhere."""
        if self.busy:
            return
        try:
            self._reload_list()
            if self.chat is not None:
                self._open(self.chat)
            self.status.value = ""
        except Failure as failure:
            self._say(str(failure))

    # ------------------------------------------------------------------------------------------ chats

    def _reload_list(self) -> None:
        titles = self._reader.list_titles()
        if self.chat is not None and self.chat not in {chat for chat, _ in titles}:
            self.chat, self.messages.children = None, ()
        self._fill_picker([("New chat", NEW), *((title or "Untitled", chat) for chat, title in titles)])

    def _fill_picker(self, options: list[tuple[str, str]]) -> None:
        """Set the picker's options and select the open chat, without opening another."""
        self._is_filling_picker = True
        self.picker.options = _number_duplicates(options)
        self.picker.value = self.chat or NEW
        self._is_filling_picker = False

    def _pick(self, chat: str) -> None:
        if self._is_filling_picker or self.busy or (chat or None) == self.chat:
            return
        self.chat = chat or None
        self.messages.children = ()
        self.refresh()

    def _open(self, chat: str) -> None:
        messages = self._reader.read(chat)
        self.messages.children = tuple(w.Output(outputs=draw_message(message)) for message in messages)
        if messages and messages[-1].state == "streaming":
            last = messages[-1]
            self._start(lambda: self._chats.follow(chat, last.id), self.messages.children[-1], "")
            self._answer_id = last.id

    # ------------------------------------------------------------------------------------------ the answer

    def _start(self, open_stream: Callable[[], Iterator[ChatEvent]], answer: w.Output | None, prompt: str) -> None:
        self._failure, self._text, self._answer_id, self._is_stopping = None, "", "", False
        self._show_busy(True)
        self._done = threading.Event()
        threading.Thread(target=self._run, args=(open_stream, answer, prompt, self._done), daemon=True).start()

    def _wait_for_answer(self) -> str:
        # An event instead of the thread's join: until Python 3.11, an interrupted join marks a running thread as ended.
        # It waits in steps so that the kernel's interrupt gets through.
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

    def _run(
        self,
        open_stream: Callable[[], Iterator[ChatEvent]],
        answer: w.Output | None,
        prompt: str,
        done: threading.Event,
    ) -> None:
        last_drawn, draw = 0.0, Markdown()
        usage = None
        try:
            for event in open_stream():
                if isinstance(event, AnswerStarted):
                    answer = self._add_messages(event)
                elif isinstance(event, SaveState):
                    self._say("" if event.is_saved else UNSAVED)
                elif isinstance(event, Delta):
                    self._text += event.text
                elif isinstance(event, End):
                    usage = event.usage
                if answer is not None and time.monotonic() - last_drawn >= 1 / HZ:
                    last_drawn = time.monotonic()
                    answer.outputs = draw_live(draw, self._text, event)
        except Failure as failure:
            self._failure = failure
        except Exception:  # the thread's edge: without this, an unexpected error would leave the chat busy for ever
            self._failure = Failure("internal", "The chat failed because of an error in Jupyter Mistral.", "Try again.")
            raise
        finally:
            self._finish(answer, prompt, usage)
            done.set()

    def _add_messages(self, started: AnswerStarted) -> w.Output:
        """Append the stored question and its answer; return the answer's output."""
        self.chat, self._answer_id = started.chat, started.answer.id
        question = w.Output(outputs=draw_message(started.question))
        answer = w.Output(outputs=draw_message(started.answer))
        self.messages.children = (*self.messages.children, question, answer)
        self._say("" if started.is_saved else UNSAVED)
        new, *others = self.picker.options
        if started.chat not in [chat for _, chat in others]:
            self._fill_picker([new, (started.title or "Untitled", started.chat), *others])
        if self._is_stopping:
            self.stop()
        return answer

    def _finish(self, answer: w.Output | None, prompt: str, usage: Any) -> None:
        failure = self._failure
        if failure is not None and (answer is None or failure.code == "not_found"):
            self._say(str(failure))
            self.input.value = self.input.value or prompt  # so that the question is not lost
        else:
            state = "done" if failure is None else "interrupted" if is_stopped(failure) or self._text else "failed"
            note = "" if failure is None or is_stopped(failure) else str(failure)
            assert answer is not None
            message = ChatMessage(self._answer_id, "assistant", self._text, state, usage=usage, note=note)
            answer.outputs = draw_message(message)
        self._show_busy(False)

    def _show_busy(self, is_busy: bool) -> None:
        self.busy = is_busy
        self.send_button.disabled = self.picker.disabled = self.refresh_button.disabled = is_busy
        self.stop_button.disabled = not is_busy

    def _say(self, sentence: str) -> None:
        self.status.value = f'<span class="jmi-warn" dir="auto">{escape(sentence)}</span>' if sentence else ""


def show(chat: str | None = None) -> None:
    """Display a chat below the cell: the one with that id, else the newest. `%mistral chat` calls this."""
    from IPython.display import display

    if chat is None:
        with suppress(Failure):  # no host is running: the first question starts one
            chat = next((chat_id for chat_id, _ in Chats(lambda: Client.find(start=False)).list_titles()), None)
    display(ChatWidget(chat))


def _call_after_typing(call: Callable[[], object]) -> None:
    """Delay `call`: while the kernel was busy, a click may overtake the text that was typed before it."""
    try:
        asyncio.get_running_loop().call_later(CLICK_DELAY_S, call)
    except RuntimeError:  # no front end: a call from code
        call()


def _user_namespace() -> dict[str, Any]:
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    return dict(shell.user_ns) if shell is not None else {}


def _number_duplicates(options: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Number repeated titles, since a dropdown shows nothing but labels."""
    counts: dict[str, int] = {}
    numbered = []
    for label, chat in options:
        counts[label] = counts.get(label, 0) + 1
        numbered.append((label if counts[label] == 1 else f"{label} ({counts[label]})", chat))
    return numbered
