"""Figures are kept as they are shown, and `explain` and `--see` send their facts, and pixels where the model can see."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import kernel_peer
import pytest
from IPython.core.error import UsageError
from jupyter_mistral.kernel.errors import MistralError
from jupyter_mistral.kernel.figures.history import KEPT, MIME, figure_of, install, last_figure, shown_by
from kernel_peer import Peer
from kernel_shell import Shell
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

PLOT = (
    "from matplotlib.figure import Figure\nfig = Figure(); ax = fig.subplots(); ax.plot([1, 5, 2], label='speed')\nfig"
)
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABpfZFQAAAAABJRU5ErkJggg=="
)


@pytest.fixture
def seeing_peer(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> Peer:
    """The host with a model loaded that takes pictures."""
    card = {**kernel_peer.STATUS["model"], "can": ["text", "image"]}  # type: ignore[dict-item]
    monkeypatch.setitem(kernel_peer.STATUS, "model", card)
    return peer


def test_a_figure_is_kept_by_the_number_of_its_cell(shell: Shell) -> None:
    shell.run("x = 1")
    shell.run(PLOT)
    shell.run("x")
    shown = shown_by(shell.ip)
    assert shown is not None
    assert [seen.number for seen in shown] == [2]
    assert shown.last is not None and shown.last is shown.of(2)[0]
    assert shown.last.facts.to_dict()["panels"][0]["series"][0]["value"]["max"] == 5


def test_the_same_figure_shown_twice_by_a_cell_is_one_and_the_newest_facts_hold(shell: Shell) -> None:
    shell.run(PLOT + ";")
    shell.run("_ = get_ipython().display_formatter.format(fig)\nax.plot([9, 9, 9])\nfig")
    shown = shown_by(shell.ip)
    assert shown is not None and [seen.number for seen in shown] == [2]
    assert len(shown.last.facts.to_dict()["panels"][0]["series"]) == 2  # type: ignore[union-attr]


def test_only_the_last_twenty_are_kept(shell: Shell) -> None:
    for _ in range(KEPT + 3):
        shell.run(PLOT)
    shown = shown_by(shell.ip)
    assert shown is not None and [seen.number for seen in shown] == list(range(4, KEPT + 4))


def test_what_a_figure_displays_is_what_it_displayed_without_us(shell: Shell) -> None:
    shell.run(PLOT)
    figure = shell.ip.user_ns["fig"]
    formats, _ = shell.ip.display_formatter.format(figure)
    assert MIME not in formats


def test_installing_twice_keeps_one_and_unloading_leaves_nothing(shell: Shell) -> None:
    assert install(shell.ip) is shown_by(shell.ip)
    shell.run("%unload_ext jupyter_mistral")
    assert shown_by(shell.ip) is None
    assert MIME not in shell.ip.display_formatter.formatters
    assert not [c for c in shell.ip.events.callbacks["pre_run_cell"] if "figures" in getattr(c, "__module__", "")]


def test_a_variable_that_holds_a_figure_is_found_by_name_and_as_the_last_one(shell: Shell) -> None:
    shell.run(PLOT + ";")
    assert shown_by(shell.ip).last is None  # type: ignore[union-attr]
    facts = figure_of(shell.ip.user_ns, "fig")
    assert facts is not None and 'line "speed"' in str(facts)
    assert figure_of(shell.ip.user_ns, "nothing") is None
    shell.run("x = 3")
    assert figure_of(shell.ip.user_ns, "x") is None
    assert last_figure(shell.ip) is not None


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
    assert shown.startswith("*Read from the figure’s own data, without its picture, which the model does not see:")
    assert not any(message.images for message in request.messages)


def test_an_explanation_begins_with_the_figure_s_own_numbers(shell: Shell, peer: Peer) -> None:
    shell.run(PLOT)
    peer.say("a line.")
    shell.run("%mistral what came before?")
    shown, error = shell.run("%mistral explain")
    assert error is None
    asked, begun = peer.requests[-1].messages[-2:]
    assert (asked.role, begun.role) == ("user", "assistant")
    assert "without its picture, which the model does not see" in begun.text
    assert "line “speed”: 3 points; x from 0 to 2; y min 1 at x 0, max 5 at x 1" in begun.text
    assert shell.ip.user_ns["_mistral"].text == f"{begun.text}a line."
    assert "max 5 at x 1" in shown
    assert not any("what came before?" in message.text for message in peer.requests[-1].messages)


def test_an_answer_in_another_format_is_told_apart_that_it_was_not_seen(shell: Shell, peer: Peer) -> None:
    shell.run(PLOT)
    peer.say("[5]")
    shown, error = shell.run("%mistral -f json --see fig the peaks as a list")
    assert error is None
    assert shown.startswith("The model cannot see pictures: it is given the numbers that were read from the figure.")
    assert [message.role for message in peer.requests[-1].messages] == ["system", "user"]
    assert shell.ip.user_ns["_mistral"].json == [5]


def test_what_a_figure_says_itself_is_no_markdown_of_the_answer(shell: Shell, peer: Peer) -> None:
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
def test_other_words_behind_explain_are_a_question(shell: Shell, peer: Peer, line: str) -> None:
    shell.run(PLOT + "\nx = 3")
    shell.run(f"%mistral {line}")
    assert peer.prompt == line
    assert peer.requests[-1].extras.figures == ()


def test_the_plot_needs_one(shell: Shell, peer: Peer) -> None:
    shown, error = shell.run("%mistral explain the plot")
    assert isinstance(error, MistralError)
    assert "No figure was shown in this kernel yet." in shown


def test_numbers_that_no_figure_holds_are_pointed_out(shell: Shell, peer: Peer) -> None:
    shell.run(PLOT)
    peer.say("The peak of 5 is 77.5 above 2024-01-01, on average 2.67 and 2 in 123.")
    shown, error = shell.run("%mistral --see fig what is above 123?")
    assert error is None
    assert "Check these: not among the figure's numbers are 77.5, 2024." in shown
    peer.say("The peak is 5, the mean 2.67.")
    shown, _ = shell.run("%mistral explain")
    assert "Check these" not in shown


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
    ("see", "said"),
    [
        ("9", "Cell In[9] showed no figure that is still kept. Cells whose figures are kept: 1."),
        ("nowhere", "There is no variable and no file called nowhere."),
        ("number", "number is no figure: it is a int."),
        ("https://example.org/a.png", "Pictures are never fetched from an address. Save it, and name the file."),
    ],
)
def test_what_cannot_be_seen_is_said_in_a_sentence(shell: Shell, peer: Peer, see: str, said: str) -> None:
    shell.run(PLOT)
    shell.run("number = 3")
    shown, error = shell.run(f"%mistral --see {see} what is it?")
    assert isinstance(error, MistralError)
    assert said in shown
    assert not peer.requests


def test_see_needs_a_value(shell: Shell, peer: Peer) -> None:
    assert isinstance(shell.run("%mistral --see")[1], UsageError)


def test_a_model_that_sees_gets_pixels_and_is_asked_for_contradictions(shell: Shell, seeing_peer: Peer) -> None:
    shell.run(PLOT)
    shown, error = shell.run("%mistral --see fig what is the peak?")
    assert error is None and "cannot see" not in shown
    message = seeing_peer.requests[-1].messages[-1]
    assert message.images[0].mime == "image/png" and message.images[0].data.startswith(b"\x89PNG")
    assert message.text.startswith("what is the peak?\n\nThe facts come from the figure's data, the picture shows")
    assert "“**Contradictions:**”" in message.text
    assert len(seeing_peer.requests[-1].extras.figures) == 1
    shell.run("%mistral explain fig")
    *_, message, begun = seeing_peer.requests[-1].messages
    assert len(message.images) == 1
    assert begun.text.startswith("*Read from the figure’s own data:*\n\n- axes")


def test_several_pictures_go_in_one_turn_and_too_many_are_refused(shell: Shell, seeing_peer: Peer) -> None:
    shell.run(PLOT + "\nfirst = fig")
    shell.run(PLOT.replace("speed", "other"))
    _, error = shell.run("%mistral --see first --see fig which is larger?")
    assert error is None
    assert [len(message.images) for message in seeing_peer.requests[-1].messages] == [0, 2]
    shown, error = shell.run(f"%mistral {'--see fig ' * 9}which is larger?")
    assert isinstance(error, MistralError)
    assert "9 figures are more than the 8 of one question." in shown


def test_a_picture_s_file_goes_by_its_content(shell: Shell, seeing_peer: Peer, tmp_path: Path) -> None:
    (tmp_path / "photo.txt").write_bytes(PNG)
    (tmp_path / "photo.png").write_text("not a picture")
    _, error = shell.run(f"%mistral --see '{tmp_path}/photo.txt' what is it?")
    assert error is None
    request = seeing_peer.requests[-1]
    assert request.messages[-1].images[0].data == PNG
    assert request.messages[-1].text == "what is it?"
    assert request.extras.figures == ()
    shown, error = shell.run(f"%mistral --see {tmp_path}/photo.png what is it?")
    assert isinstance(error, MistralError)
    assert "photo.png is no PNG, JPEG, WebP" in shown
    assert str(tmp_path) not in shown


def test_a_picture_needs_a_model_that_sees(shell: Shell, peer: Peer, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(PNG)
    shown, error = shell.run(f"%mistral --see {tmp_path}/photo.png what is it?")
    assert isinstance(error, MistralError)
    assert "No numbers could be read from photo.png, and the model does not see pictures." in shown
    _, error = shell.run(f"%mistral --model mistral-small-3.2 --see {tmp_path}/photo.png what is it?")
    assert error is None  # the host's list says that this one can


def test_in_a_notebook_facts_and_pixels_survive_the_inline_backend(peer: Peer) -> None:
    cells = [
        "%load_ext jupyter_mistral\nimport matplotlib.pyplot as plt",
        "plt.plot([1, 2, 3], [3, 1, 2]);",
        "plt.bar(['a', 'b'], [1, 2]); plt.show()\nplt.plot([9, 9]); plt.show()",
        "import plotly.graph_objects as go, plotly.io as pio\npio.renderers.default = 'plotly_mimetype'\n"
        "go.Figure(go.Scatter(x=[1, 2], y=[3, 4]))",
        "import altair as alt, pandas as pd\nalt.Chart(pd.DataFrame({'a': [1, 2]})).mark_point().encode(x='a:Q')",
        "from jupyter_mistral.kernel.figures.history import shown_by\n"
        "for seen in shown_by(get_ipython()):\n"
        "    kinds = [s.kind for p in seen.facts.figure.panels for s in p.series]\n"
        "    print(seen.number, seen.facts.figure.source, *kinds, seen.picture and seen.picture.mime)",
        "import base64\nshown = shown_by(get_ipython())\n"
        "ends = [base64.b64encode(s.picture.data)[-40:].decode() for s in shown if s.picture]\n"
        "print([s.facts.figure.panels[0].series[0].kind for end in ends for s in shown.ending(end)], shown.ending('AAAA'))\n"
        "print([shown.of_picture(s.picture.data) is s.facts for s in shown if s.picture], shown.of_picture(b''))",
        "%mistral explain 2",
    ]
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=120).execute()
    printed: Any = notebook.cells[5].outputs[0]
    assert printed["text"].splitlines() == [
        "2 matplotlib line image/png",
        "3 matplotlib bars image/png",
        "3 matplotlib line image/png",
        "4 plotly line None",
        "5 Vega-Lite values None",
    ]
    told: Any = notebook.cells[6].outputs[0]
    assert told["text"].splitlines() == ["['line', 'bars', 'line'] []", "[True, True, True] None"]
    assert "y min 1 at x 2, max 3 at x 1" in peer.requests[-1].extras.figures[0]
