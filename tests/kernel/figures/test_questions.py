"""`explain` and `--see` send the facts of figures, and their images if the model can see."""

from __future__ import annotations

import base64
from pathlib import Path

import kernel_peer
import pytest
from IPython.core.error import UsageError
from jupyter_mistral.kernel.errors import MistralError
from kernel_peer import Peer
from kernel_shell import PLOT, Shell

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABpfZFQAAAAABJRU5ErkJggg=="
)


@pytest.fixture
def seeing_peer(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> Peer:
    """A host whose loaded model accepts images."""
    card = {**kernel_peer.STATUS["model"], "can": ["text", "image"]}  # type: ignore[dict-item]
    monkeypatch.setitem(kernel_peer.STATUS, "model", card)
    return peer


def test_explain_with_a_number_sends_the_facts_of_that_figure(shell: Shell, peer: Peer) -> None:
    shell.run(PLOT)
    shell.run(PLOT.replace("speed", "other"))
    shown, error = shell.run("%mistral explain 1 --seed 4")
    assert error is None
    request = peer.requests[-1]
    assert len(request.extras.figures) == 1
    assert 'line "speed"' in request.extras.figures[0]
    assert request.sampling.seed == 4
    assert "Explain in plain words what the figure shows" in peer.prompt
    assert shown.startswith("*From the figure's data (this model cannot see images):")
    assert not any(message.images for message in request.messages)


def test_an_explanation_begins_with_the_figure_s_numbers(shell: Shell, peer: Peer) -> None:
    shell.run(PLOT)
    peer.say("a line.")
    shell.run("%mistral what came before?")
    shown, error = shell.run("%mistral explain")
    assert error is None
    asked, begun = peer.requests[-1].messages[-2:]
    assert (asked.role, begun.role) == ("user", "assistant")
    assert "(this model cannot see images)" in begun.text
    assert "line “speed”: 3 points; x from 0 to 2; y min 1 at x 0, max 5 at x 1" in begun.text
    assert shell.ip.user_ns["_mistral"].text == f"{begun.text}a line."
    assert "max 5 at x 1" in shown
    assert not any("what came before?" in message.text for message in peer.requests[-1].messages)


def test_for_an_answer_in_another_format_a_note_says_that_the_figure_was_not_seen(shell: Shell, peer: Peer) -> None:
    shell.run(PLOT)
    peer.say("[5]")
    shown, error = shell.run("%mistral -f json --see fig the peaks as a list")
    assert error is None
    assert shown.startswith("This model cannot see images. It receives the numbers from the figure's data.")
    assert [message.role for message in peer.requests[-1].messages] == ["system", "user"]
    assert shell.ip.user_ns["_mistral"].json == [5]


def test_the_figure_s_own_text_is_escaped_in_the_answer_s_markdown(shell: Shell, peer: Peer) -> None:
    shell.run(PLOT.replace("speed", "[a](b) <i> $x$ `c`"))
    shell.run("%mistral explain")
    assert r"\[a\](b) \<i\> \$x\$ \`c\`" in peer.requests[-1].messages[-1].text


@pytest.mark.parametrize("line", ["explain fig", "explain ax", "explain the plot", "explain figure", "--see fig"])
def test_a_figure_is_explained_by_name_or_as_the_plot(shell: Shell, peer: Peer, line: str) -> None:
    shell.run(PLOT)
    shell.run("1 / 0")
    _, error = shell.run(f"%mistral {line}")
    assert error is None
    assert len(peer.requests[-1].extras.figures) == 1
    assert 'line "speed"' in peer.requests[-1].extras.figures[0]


@pytest.mark.parametrize("line", ["explain recursion", "explain the plot of Hamlet", "explain x"])
def test_other_words_after_explain_are_a_question(shell: Shell, peer: Peer, line: str) -> None:
    shell.run(PLOT + "\nx = 3")
    shell.run(f"%mistral {line}")
    assert peer.prompt == line
    assert peer.requests[-1].extras.figures == ()


def test_explaining_the_plot_without_one_is_an_error(shell: Shell, peer: Peer) -> None:
    shown, error = shell.run("%mistral explain the plot")
    assert isinstance(error, MistralError)
    assert "No figure was shown in this kernel yet." in shown


def test_numbers_that_are_in_no_figure_are_reported(shell: Shell, peer: Peer) -> None:
    shell.run(PLOT)
    peer.say("The peak of 5 is 77.5 above 2024-01-01, on average 2.67 and 2 in 123, not 12.")
    shown, error = shell.run("%mistral --see fig what is above 123?")
    assert error is None
    assert "Check these numbers; they are not in the figure: 77.5, 2024, 12." in shown
    peer.say("The peak is 5, the mean 2.67.")
    shown, _ = shell.run("%mistral explain")
    assert "Check these numbers" not in shown


def test_explain_alone_takes_the_newer_of_the_last_figure_and_the_last_error(shell: Shell, peer: Peer) -> None:
    shell.run("1 / 0")
    shell.run(PLOT)
    shell.run("%mistral explain")
    assert 'line "speed"' in peer.requests[-1].extras.figures[0]
    shell.run("%mistral explain 1")
    assert "ZeroDivisionError" in peer.prompt
    shell.run("undefined")
    shell.run("%mistral explain")
    assert "NameError" in peer.prompt
    assert peer.requests[-1].extras.figures == ()
    assert peer.requests[-1].messages[1].text == "Explain the last figure."


def test_see_takes_a_number_a_variable_and_both(shell: Shell, peer: Peer) -> None:
    shell.run(PLOT)
    shell.run(
        "chart = {'mark': 'bar', 'data': {'values': [{'a': 'k', 'b': 2}]}, 'encoding': "
        "{'x': {'field': 'a', 'type': 'nominal'}, 'y': {'field': 'b', 'type': 'quantitative'}}}"
    )
    shell.run("%%mistral --see In[1] --see chart\nwhich is larger?")
    figures = peer.requests[-1].extras.figures
    assert len(figures) == 2
    assert "matplotlib figure" in figures[0] and 'all: "k" 2' in figures[1]
    assert peer.prompt.startswith("which is larger?")


@pytest.mark.parametrize(
    ("see", "message"),
    [
        ("9", "No figure of cell In[9] is kept. Cells with figures: 1."),
        ("nowhere", "There is no variable or file named nowhere."),
        ("number", "`number` is an int, not a figure."),
        ("https://example.org/a.png", "Images are not downloaded from URLs. Save the image, and name the file."),
    ],
)
def test_a_sentence_says_why_a_figure_cannot_be_used(shell: Shell, peer: Peer, see: str, message: str) -> None:
    shell.run(PLOT)
    shell.run("number = 3")
    shown, error = shell.run(f"%mistral --see {see} what is it?")
    assert isinstance(error, MistralError)
    assert message in shown
    assert not peer.requests


def test_see_needs_a_value(shell: Shell, peer: Peer) -> None:
    assert isinstance(shell.run("%mistral --see")[1], UsageError)


def test_a_model_that_can_see_gets_the_image_and_is_asked_for_contradictions(shell: Shell, seeing_peer: Peer) -> None:
    shell.run(PLOT)
    shown, error = shell.run("%mistral --see fig what is the peak?")
    assert error is None and "cannot see" not in shown
    message = seeing_peer.requests[-1].messages[-1]
    assert message.images[0].mime == "image/png" and message.images[0].data.startswith(b"\x89PNG")
    assert message.text.startswith("what is the peak?\n\nThe facts come from the figure's data, the image shows")
    assert "“**Contradictions:**”" in message.text
    assert len(seeing_peer.requests[-1].extras.figures) == 1
    shell.run("%mistral explain fig")
    *_, message, begun = seeing_peer.requests[-1].messages
    assert len(message.images) == 1
    assert begun.text.startswith("*From the figure's data:*\n\n- axes")


def test_several_images_are_sent_in_one_turn_and_too_many_are_refused(shell: Shell, seeing_peer: Peer) -> None:
    shell.run(PLOT + "\nfirst = fig")
    shell.run(PLOT.replace("speed", "other"))
    _, error = shell.run("%mistral --see first --see fig which is larger?")
    assert error is None
    assert [len(message.images) for message in seeing_peer.requests[-1].messages] == [0, 2]
    shown, error = shell.run(f"%mistral {'--see fig ' * 9}which is larger?")
    assert isinstance(error, MistralError)
    assert "A question can include at most 8 figures, not 9." in shown


def test_an_image_file_is_recognized_by_its_content(shell: Shell, seeing_peer: Peer, tmp_path: Path) -> None:
    (tmp_path / "photo.txt").write_bytes(PNG)
    (tmp_path / "photo.png").write_text("not an image")
    _, error = shell.run(f"%mistral --see '{tmp_path}/photo.txt' what is it?")
    assert error is None
    request = seeing_peer.requests[-1]
    assert request.messages[-1].images[0].data == PNG
    assert request.messages[-1].text == "what is it?"
    assert request.extras.figures == ()
    shown, error = shell.run(f"%mistral --see {tmp_path}/photo.png what is it?")
    assert isinstance(error, MistralError)
    assert "photo.png is not a PNG, JPEG, WebP" in shown
    assert str(tmp_path) not in shown


def test_an_image_needs_a_model_that_can_see(shell: Shell, peer: Peer, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(PNG)
    shown, error = shell.run(f"%mistral --see {tmp_path}/photo.png what is it?")
    assert isinstance(error, MistralError)
    assert "No numbers could be read from photo.png, and this model cannot see images." in shown
    _, error = shell.run(f"%mistral --model mistral-small-3.2 --see {tmp_path}/photo.png what is it?")
    assert error is None  # the host lists this one as able to
