"""Alt text: shown as a diff, written on request, never replacing a person's words, never with a number not in the figure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import kernel_peer
import nbformat
import pytest
from jupyter_mistral.cli import main
from jupyter_mistral.kernel.alt_text.notebook import Notebook
from jupyter_mistral.kernel.alt_text.writing import first_sentence
from jupyter_mistral.kernel.errors import MistralError
from jupyter_mistral.protocol.failures import Failure
from kernel_peer import Peer
from kernel_shell import Shell
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from nbformat.v4 import new_code_cell, new_notebook, new_output

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABpfZFQAAAAABJRU5ErkJggg=="
PLOTLY = {
    "data": [{"type": "scatter", "mode": "lines", "x": [1, 2, 3], "y": [4, 9, 5], "name": "north"}],
    "layout": {"yaxis": {"title": {"text": "speed (m/s)"}}, "xaxis": {"title": {"text": "t (s)"}}},
}
SPEC = "application/vnd.plotly.v1+json"
OURS = "Line plot of speed (m/s) against t (s). Lowest value of north: 4 at 1; highest: 9 at 2."


def shown(data: dict[str, Any], **metadata: Any) -> Any:
    return new_output("display_data", data, metadata=metadata)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A Plotly figure, an image with hand-written alt text, an image with code only, and a cell without a figure."""
    cells = [
        new_code_cell("fig", execution_count=1, outputs=[shown({SPEC: PLOTLY, "text/html": "<div/>"})]),
        new_code_cell(
            "show()", execution_count=2, outputs=[shown({"image/png": PNG}, **{"image/png": {"alt": "A cat."}})]
        ),
        new_code_cell(
            "plt.bar(x, y)", execution_count=3, outputs=[shown({"image/png": PNG, "text/plain": "<Figure>"})]
        ),
        new_code_cell("1", execution_count=4, outputs=[shown({"text/plain": "1"})]),
    ]
    path = tmp_path / "trip.ipynb"
    nbformat.write(new_notebook(cells=cells), path)
    return path


def alt(path: Path, cell: int, mime: str) -> str | None:
    output = nbformat.read(path, 4).cells[cell].outputs[0]
    return output.metadata.get(mime, {}).get("alt")  # type: ignore[no-any-return]


def test_the_diff_comes_first_and_apply_writes_exactly_it(shell: Shell, peer: Peer, saved: Path) -> None:
    before = saved.read_bytes()
    peer.say("The speed peaks in the middle of the trip.")
    output, error = shell.run(f"%mistral alt {saved}")
    assert error is None
    assert saved.read_bytes() == before
    assert f"+{OURS} The speed peaks in the middle of the trip." in output
    assert " A cat." in output and "kept: written by a person" in output
    assert "@@ [cell 2] output 0, image/png @@ from the cell's code alone" in output
    assert "3 figures, 2 alt texts to write." in output
    asked = len(peer.requests)
    output, error = shell.run("%mistral alt --apply")
    assert error is None and "Wrote 2 alt texts to trip.ipynb." in output
    assert len(peer.requests) == asked == 2
    assert alt(saved, 0, SPEC) == f"{OURS} The speed peaks in the middle of the trip."
    assert alt(saved, 1, "image/png") == "A cat."
    assert alt(saved, 2, "image/png") == "The speed peaks in the middle of the trip."
    nbformat.validate(nbformat.read(saved, 4))


def test_only_the_metadata_of_the_figures_changes(shell: Shell, peer: Peer, saved: Path) -> None:
    before = json.loads(saved.read_text())
    shell.run(f"%mistral alt {saved}")
    shell.run("%mistral alt --apply")
    after = json.loads(saved.read_text())
    for cell in (*before["cells"], *after["cells"]):
        for output in cell["outputs"]:
            output["metadata"] = {}
    assert after == before


def test_a_sentence_with_a_number_not_in_the_figure_is_dropped(shell: Shell, peer: Peer, saved: Path) -> None:
    peer.say("The speed peaks at 77 metres a second.")
    output, _ = shell.run(f"%mistral alt {saved}")
    assert f"+{OURS}\n" in output
    assert "skipped: no usable text was generated from the cell's code alone" in output
    assert "77" not in output


def test_hand_written_text_needs_overwrite_and_generated_text_does_not(shell: Shell, peer: Peer, saved: Path) -> None:
    peer.say("First words of the model here.")
    shell.run(f"%mistral alt {saved}")
    shell.run("%mistral alt --apply")
    peer.say("Other words of the model here.")
    output, _ = shell.run(f"%mistral alt {saved} --overwrite")
    assert "-A cat." in output and "+Other words of the model here." in output
    assert "-First words of the model here." in output
    output, _ = shell.run(f"%mistral alt {saved}")
    assert "-A cat." not in output and "-First words of the model here." in output
    notebook = json.loads(saved.read_text())
    notebook["cells"][2]["outputs"][0]["metadata"]["image/png"]["alt"] = "My own words."
    saved.write_text(json.dumps(notebook))
    output, _ = shell.run(f"%mistral alt {saved}")
    assert " My own words." in output and "-My own words." not in output


def test_a_file_that_has_changed_is_not_written(shell: Shell, peer: Peer, saved: Path) -> None:
    shell.run(f"%mistral alt {saved}")
    changed = saved.read_text().replace("plt.bar", "plt.barh")
    saved.write_text(changed)
    output, error = shell.run("%mistral alt --apply")
    assert isinstance(error, MistralError) and "trip.ipynb has changed since it was read." in output
    assert saved.read_text() == changed


def test_apply_needs_a_diff_that_was_shown(shell: Shell, peer: Peer, saved: Path) -> None:
    output, error = shell.run("%mistral alt --apply")
    assert isinstance(error, MistralError) and "No alt text was shown yet." in output
    shell.run(f"%mistral alt {saved}")
    shell.run("%mistral alt --apply")
    assert isinstance(shell.run("%mistral alt --apply")[1], MistralError), "each diff is written once"


@pytest.mark.parametrize("line", ["alt codes on my keyboard", "alt a.ipynb b.ipynb"])
def test_other_words_after_alt_are_a_question(shell: Shell, peer: Peer, line: str) -> None:
    shell.run(f"%mistral {line}")
    assert peer.prompt == line


def test_an_image_is_sent_to_a_model_with_vision(
    shell: Shell, peer: Peer, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = {**kernel_peer.STATUS["model"], "can": ["text", "image"]}  # type: ignore[dict-item]
    monkeypatch.setitem(kernel_peer.STATUS, "model", card)
    peer.say("**A bar chart** of three bars in blue. It has more.")
    output, _ = shell.run(f"%mistral alt {saved}")
    assert "+A bar chart of three bars in blue.\n" in output
    assert "@@ [cell 2] output 0, image/png @@ from its image" in output
    assert [len(request.messages[1].images) for request in peer.requests] == [0, 1]


def test_the_command_writes_only_with_apply(peer: Peer, saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    peer.say("The speed peaks in the middle of the trip.")
    before = saved.read_bytes()
    assert main(["alt", str(saved)]) == 0
    out = capsys.readouterr()
    assert out.out.startswith("--- trip.ipynb\n+++ trip.ipynb with alt text\n@@ [cell 0] output 0")
    assert "Figure 3 of 3" in out.err and "Nothing was written. Use --apply to write it." in out.err
    assert saved.read_bytes() == before
    assert main(["alt", str(saved), "--apply"]) == 0
    assert "Wrote 2 alt texts to trip.ipynb." in capsys.readouterr().err
    assert alt(saved, 2, "image/png") == "The speed peaks in the middle of the trip."
    page, _ = HTMLExporter(template_name="classic").from_filename(str(saved))
    assert 'alt="The speed peaks in the middle of the trip."' in page, "a page made by nbconvert carries it"


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        (None, "not_found", "The file x.ipynb does not exist."),
        ("[]", "bad_request", "x.ipynb is not a notebook"),
        ('{"cells": 3}', "bad_request", "x.ipynb is not a notebook"),
        ("[" * 100_000, "bad_request", "x.ipynb is not a notebook"),
    ],
)
def test_a_file_that_is_not_a_notebook_is_an_error_in_one_sentence(
    tmp_path: Path, text: str | None, code: str, said: str
) -> None:
    if text is not None:
        (tmp_path / "x.ipynb").write_text(text)
    with pytest.raises(Failure) as caught:
        Notebook(tmp_path / "x.ipynb")
    assert caught.value.code == code and said in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_broken_cells_and_outputs_are_skipped(tmp_path: Path) -> None:
    cells: list[Any] = [None, {}, {"outputs": None}, {"outputs": [3, {}, {"data": []}, {"data": {"image/png": [PNG]}}]}]
    (tmp_path / "x.ipynb").write_text(json.dumps({"cells": cells}))
    figures = Notebook(tmp_path / "x.ipynb").figure_outputs()
    assert [(figure.cell, figure.output) for figure in figures] == [(3, 3)]


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        ("**It rises** steadily to the end. More.", "It rises steadily to the end."),
        ("- The `north` line falls all the way.\n- x", "The north line falls all the way."),
        ("I cannot see the picture at all, sorry.", ""),
        ("Alt text: a line that rises to the end.", ""),
        ("What stands out in this plot?", ""),
        ("**Does** the line rise to the end? It does.", ""),
        ("no end", ""),
        (f"{'long ' * 60}end.", ""),
    ],
)
def test_only_a_plain_sentence_becomes_alt_text(answer: str, kept: str) -> None:
    assert first_sentence(answer) == kept


def test_in_a_notebook_live_numbers_are_used_and_a_button_writes(peer: Peer, tmp_path: Path) -> None:
    peer.say("It falls and then rises again.")
    cells = [
        "%load_ext jupyter_mistral\nimport matplotlib.pyplot as plt",
        "plt.plot([1, 2, 3], [3, 1, 2]); plt.ylabel('speed (m/s)');",
    ]
    path = tmp_path / "live.ipynb"
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    client = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}})
    with client.setup_kernel(env={**__import__("os").environ, "JPY_SESSION_NAME": str(path)}):
        for i, cell in enumerate(list(notebook.cells)):
            client.execute_cell(cell, i)
        nbformat.write(notebook, path)
        more = [
            "%mistral alt",
            "import ipywidgets, gc\n"
            "button = next(w for w in gc.get_objects() if isinstance(w, ipywidgets.Button) and w.description.startswith('Write'))\n"
            "print(button.description); button.click(); button.click()",
        ]
        for source in more:
            notebook.cells.append(new_code_cell(source))
            client.execute_cell(notebook.cells[-1], len(notebook.cells) - 1)
    text = next(
        o.data["text/plain"]
        for o in notebook.cells[2].outputs
        if "text/html" in o.get("data", {}) and "@@" in o.data["text/plain"]
    )
    expected = "Line plot of speed (m/s). Lowest value: 1 at 2; highest: 3 at 1. It falls and then rises again."
    assert f"+{expected}" in text
    assert notebook.cells[3].outputs[0].text == "Write 1 alt text to live.ipynb\n"
    assert alt(path, 1, "image/png") == expected
