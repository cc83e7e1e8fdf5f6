"""The chat widget with a real host and the test model: the panel's chats, streaming, Stop, output."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import nbformat
import pytest
from clockwork import ANSWER
from jupyter_mistral.kernel.errors import MistralError, Stopped
from jupyter_mistral.kernel.host.client import Client
from jupyter_mistral.kernel.show.chat_outputs import draw_message
from jupyter_mistral.kernel.show.chat_widget import ChatWidget
from jupyter_mistral.kernel.show.chats import ChatMessage, Chats
from jupyter_mistral.protocol import CONNECTION_ENV, HOME_ENV
from jupyter_mistral.protocol.failures import Failure
from jupyter_mistral.protocol.images import Image
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAoAAAAKCAIAAAACUFjqAAAAEklEQVR4nGP4H6CABzGMSmNDACofj10r63NbAAAAAElFTkSuQmCC"
LONG = "Count from 1 to 1000 in words."
SHORT = {"max_tokens": 8, "temperature": 0}
# the grammar keeps the model from ending, whatever it would say
NUMBERS = {"type": "array", "items": {"type": "integer"}, "minItems": 3000}
ENDLESS = {
    "max_tokens": 4000,
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": NUMBERS}},
}


@pytest.fixture(scope="module")
def connection(ticking: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The connection file of this module's host."""
    folder = tmp_path_factory.mktemp("host")
    home = folder / "home"
    home.mkdir(mode=0o700)
    environ = {**os.environ, HOME_ENV: str(home), "JUPYTER_RUNTIME_DIR": str(folder)}
    with (folder / "log").open("wb") as log:
        command = [sys.executable, "-m", "jupyter_mistral.server.standalone", "--model", str(ticking)]
        host = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
    path = folder / f"mistral-{host.pid}.json"
    try:
        until(lambda: path.exists() or host.poll() is not None)
        assert host.poll() is None, (folder / "log").read_text()
        yield path
    finally:
        host.send_signal(signal.SIGTERM)
        assert host.wait(120) == 0, (folder / "log").read_text()


@pytest.fixture
def make(connection: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ChatWidget]]:
    """Makes widgets that find the host. Their answers are short by default."""
    monkeypatch.setenv(CONNECTION_ENV, str(connection))
    made: list[ChatWidget] = []

    def make(chat: str | None = None, sampling: Mapping[str, Any] = SHORT, **more: Any) -> ChatWidget:
        made.append(ChatWidget(chat, sampling=sampling, **more))
        return made[-1]

    yield make
    for widget in made:
        widget.stop()
        until(lambda widget=widget: not widget.busy)
        widget.close()


@pytest.fixture
def widget(make: Callable[..., ChatWidget]) -> ChatWidget:
    return make()


@pytest.fixture
def lengthy(make: Callable[..., ChatWidget]) -> ChatWidget:
    return make(sampling=ENDLESS)


def until(is_so: Callable[[], Any]) -> None:
    """Wait without a limit: pytest's timeout applies."""
    while not is_so():
        time.sleep(0.01)


def shown(widget: ChatWidget, index: int = -1) -> dict[str, str]:
    return widget.messages.children[index].outputs[0]["data"]


def is_answering(widget: ChatWidget) -> bool:
    """Whether the endless answer has some text, as opposed to progress messages."""
    return (
        len(widget.messages.children) > 1
        and len(shown(widget)["text/plain"]) > 5
        and "[" in shown(widget)["text/plain"]
    )


def test_an_answer_is_shown_returned_and_saved_where_the_panel_finds_it(widget: ChatWidget) -> None:
    text = widget.send("Say **hello** to <b>Ada</b>.", wait=True)
    assert text == ANSWER
    assert shown(widget)["text/plain"] == text
    assert "ticking" in shown(widget)["text/html"]
    assert "Say **hello** to &lt;b&gt;Ada&lt;/b&gt;." in shown(widget, 0)["text/html"]
    assert widget.chat in [chat for chat, _ in Chats().list_titles()]
    assert [(t.role, t.text, t.state) for t in Chats().read(widget.chat)] == [
        ("user", "Say **hello** to <b>Ada</b>.", "done"),
        ("assistant", text, "done"),
    ]
    assert (widget.busy, widget.input.value, widget.picker.value) == (False, "", widget.chat)
    assert widget.picker.label == "Say **hello** to <b>Ada</b>."
    widget.send("And goodbye.", wait=True)
    assert len(Chats().read(widget.chat)) == len(widget.messages.children) == 4


def test_outputs_use_only_types_that_front_ends_sanitize(widget: ChatWidget) -> None:
    widget.send("Hello", wait=True)
    for message in widget.messages.children:
        assert set(message.outputs[0]["data"]) == {"text/html", "text/plain"}
    hostile = (
        '<img src=x onerror="alert(1)"> [x](javascript:alert(1)) ![p](https://example.com/p.png)<script>1</script>'
    )
    for role in ("user", "assistant"):
        html = draw_message(ChatMessage("1", role, hostile))[0]["data"]["text/html"].replace(" ", "")
        for sign in ("<img", "<script", 'href="javascript', "src="):
            assert sign not in html.replace("&lt;imgsrc=x", "")


def test_stop_ends_the_answer_and_keeps_the_partial_text(lengthy: ChatWidget) -> None:
    lengthy.send(LONG)
    until(lambda: is_answering(lengthy))
    assert lengthy.busy
    assert lengthy.send_button.disabled
    assert not lengthy.stop_button.disabled
    lengthy.stop_button.click()
    until(lambda: not lengthy.busy)
    kept = Chats().read(lengthy.chat)[-1]
    assert kept.state == "interrupted"
    assert kept.text
    assert shown(lengthy)["text/plain"] == kept.text
    assert "interrupted" in shown(lengthy)["text/html"]
    assert not lengthy.send_button.disabled
    assert Client.find().get("/mistral/api/status")["running"] == 0


def test_stop_pressed_at_once_stops_too(lengthy: ChatWidget) -> None:
    lengthy.send(LONG)
    lengthy.stop_button.click()
    until(lambda: not lengthy.busy)
    assert Chats().read(lengthy.chat)[-1].state == "interrupted"


def test_a_second_widget_follows_the_answer_of_the_first(make: Callable[..., ChatWidget]) -> None:
    widget = make(sampling=ENDLESS)
    widget.send(LONG)
    until(lambda: is_answering(widget))
    other = make(widget.chat)
    assert other.busy
    assert shown(other, 0)["text/plain"] == LONG
    with pytest.raises(MistralError) as error:
        other.send("me too", wait=True)
    assert error.value.code == "busy"
    until(lambda: is_answering(other))
    other.stop_button.click()
    until(lambda: not other.busy and not widget.busy)
    assert shown(other)["text/plain"] == shown(widget)["text/plain"] == Chats().read(widget.chat)[-1].text


def test_picking_a_chat_opens_it_and_new_starts_one(widget: ChatWidget) -> None:
    widget.send("One word, please.", wait=True)
    first = widget.chat
    widget.picker.value = ""
    assert (widget.chat, widget.messages.children) == (None, ())
    widget.send("One word, please.", wait=True)
    assert widget.chat != first
    labels = [label for label, _ in widget.picker.options]
    assert {"One word, please.", "One word, please. (2)"} <= set(labels), "duplicates are numbered"
    widget.picker.value = first
    assert widget.chat == first
    assert shown(widget, 0)["text/plain"] == "One word, please."
    assert len(widget.messages.children) == 2


def test_a_chat_that_was_deleted_in_the_panel_is_closed(widget: ChatWidget) -> None:
    widget.send("Hello", wait=True)
    connection = Client.find()._connection.open(10)
    headers = {"Authorization": f"Bearer {Client.find()._connection.token}"}
    connection.request("DELETE", f"/mistral/api/chats/{widget.chat}", headers=headers)
    assert connection.getresponse().status == 200
    connection.close()
    with pytest.raises(MistralError) as error:
        widget.send("still there?", wait=True)
    assert error.value.code == "not_found"
    assert widget.input.value == "still there?", "nothing typed is lost"
    widget.refresh_button.click()
    assert (widget.chat, widget.messages.children) == (None, ())


def test_an_interrupt_while_waiting_stops_the_answer(lengthy: ChatWidget) -> None:
    def interrupt() -> None:
        until(lambda: is_answering(lengthy))
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(Stopped):
        lengthy.send(LONG, wait=True)
    assert not lengthy.busy
    assert Chats().read(lengthy.chat)[-1].state == "interrupted"


def test_without_a_host_it_says_what_to_do_and_keeps_the_question(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv(CONNECTION_ENV, raising=False)
    widget = ChatWidget(chats=Chats(lambda: Client.find(start=False)))
    assert "No model host is running." in widget.status.value
    widget.input.value = "hello?"
    widget.send_button.click()
    until(lambda: not widget.busy)
    assert "jupyter mistral serve" in widget.status.value
    assert widget.input.value == "hello?"
    with pytest.raises(MistralError):
        widget.send("hello?", wait=True)


def test_variables_are_sent_only_if_the_box_is_checked(make: Callable[..., ChatWidget]) -> None:
    read = []
    for is_included in (False, True):
        widget = make(namespace=lambda: {"height": 3, "width": "a rather long text"})
        widget.variables.value = is_included
        widget.send("How high?", wait=True)
        usage = Chats().read(widget.chat)[-1].usage
        read.append(usage.prompt_tokens)
    assert read[1] > read[0] + 20


def test_images_are_thumbnails_that_the_front_end_draws(make: Callable[..., ChatWidget]) -> None:
    widget = make()
    widget.send("Hello", wait=True)
    picture = {"image_url": {"url": f"data:image/png;base64,{PNG}"}}
    body = {"content": ["What is this?", picture], **SHORT}
    with suppress(Failure):  # the test model cannot see: the question is kept all the same
        list(Client.find().chunks("POST", f"/mistral/api/chats/{widget.chat}/ask", body))
    widget.refresh()
    until(lambda: not widget.busy and len(widget.messages.children) == 4)
    text, thumbnail = widget.messages.children[2].outputs
    assert "What is this?" in text["data"]["text/html"]
    assert thumbnail["data"]["image/png"] == PNG
    assert thumbnail["metadata"]["image/png"]["width"] == 160
    large = draw_message(ChatMessage("1", "user", "?", images=(Image("image/png", bytes(3 * 2**20)),)))
    assert len(large) == 1
    assert "1 large image, see the side panel" in large[0]["data"]["text/html"]


def test_in_a_real_kernel_the_magic_shows_the_newest_chat(connection: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONNECTION_ENV, str(connection))
    cells = [
        "%load_ext jupyter_mistral",
        "from jupyter_mistral.kernel.show.chat_widget import ChatWidget\nchat = ChatWidget(sampling={'max_tokens': 8})\ntext = chat.send('Greet me.', wait=True)\nprint(bool(text))",
        "%mistral chat",
        "%mistral --max-tokens 8 chat about cats",
    ]
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=300).execute()
    assert notebook.cells[1].outputs[-1]["text"].strip() == "True"
    view = notebook.cells[2].outputs[0]["data"]["application/vnd.jupyter.widget-view+json"]
    state = notebook.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]
    assert view["model_id"] in state
    asked = [s for s in state.values() if "Greet me." in json.dumps(s["state"].get("outputs", ""))]
    assert len(asked) == 2, "the question stands in the first widget and in the one that the magic opened"
    assert "text/html" in notebook.cells[3].outputs[0]["data"], "more words make it a question"
    nbformat.validate(notebook)
