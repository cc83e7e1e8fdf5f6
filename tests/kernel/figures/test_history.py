"""The kernel keeps the facts and images of the figures that it shows."""

from __future__ import annotations

from typing import Any

from jupyter_mistral.kernel.figures.history import KEPT, MIME, history_of, install, last_figure
from jupyter_mistral.kernel.figures.references import FigureNames, find_figures
from kernel_peer import Peer
from kernel_shell import PLOT, Shell
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook


def test_a_figure_is_kept_by_the_number_of_its_cell(shell: Shell) -> None:
    shell.run("x = 1")
    shell.run(PLOT)
    shell.run("x")
    history = history_of(shell.ip)
    assert history is not None
    assert [figure.number for figure in history] == [2]
    assert history.last is not None and history.last is history.of_cell(2)[0]
    assert history.last.facts.to_dict()["panels"][0]["series"][0]["value"]["max"] == 5


def test_a_figure_that_a_cell_shows_twice_is_kept_once_with_its_newest_facts(shell: Shell) -> None:
    shell.run(PLOT + ";")
    shell.run("_ = get_ipython().display_formatter.format(fig)\nax.plot([9, 9, 9])\nfig")
    history = history_of(shell.ip)
    assert history is not None and [figure.number for figure in history] == [2]
    assert len(history.last.facts.to_dict()["panels"][0]["series"]) == 2  # type: ignore[union-attr]


def test_only_the_last_twenty_are_kept(shell: Shell) -> None:
    for _ in range(KEPT + 3):
        shell.run(PLOT)
    history = history_of(shell.ip)
    assert history is not None and [figure.number for figure in history] == list(range(4, KEPT + 4))


def test_recording_does_not_change_what_a_figure_displays(shell: Shell) -> None:
    shell.run(PLOT)
    figure = shell.ip.user_ns["fig"]
    formats, _ = shell.ip.display_formatter.format(figure)
    assert MIME not in formats


def test_installing_twice_keeps_one_history_and_unloading_leaves_nothing(shell: Shell) -> None:
    assert install(shell.ip) is history_of(shell.ip)
    shell.run("%unload_ext jupyter_mistral")
    assert history_of(shell.ip) is None
    assert MIME not in shell.ip.display_formatter.formatters
    assert not [c for c in shell.ip.events.callbacks["pre_run_cell"] if "figures" in getattr(c, "__module__", "")]


def test_a_figure_in_a_variable_is_found_by_name_and_as_the_last_figure(shell: Shell) -> None:
    shell.run(PLOT + ";")
    assert history_of(shell.ip).last is None  # type: ignore[union-attr]
    (figure,) = find_figures(["fig"], shell.ip)
    assert 'line "speed"' in str(figure.facts)
    shell.run("x = 3")
    names = FigureNames(shell.ip.user_ns)
    assert "fig" in names and "x" not in names and "nothing" not in names
    assert last_figure(shell.ip) is not None


def test_in_a_notebook_facts_and_images_survive_the_inline_backend(peer: Peer) -> None:
    cells = [
        "%load_ext jupyter_mistral\nimport matplotlib.pyplot as plt",
        "plt.plot([1, 2, 3], [3, 1, 2]);",
        "plt.bar(['a', 'b'], [1, 2]); plt.show()\nplt.plot([9, 9]); plt.show()",
        "import plotly.graph_objects as go, plotly.io as pio\npio.renderers.default = 'plotly_mimetype'\n"
        "go.Figure(go.Scatter(x=[1, 2], y=[3, 4]))",
        "import altair as alt, pandas as pd\nalt.Chart(pd.DataFrame({'a': [1, 2]})).mark_point().encode(x='a:Q')",
        "from jupyter_mistral.kernel.figures.history import history_of\n"
        "for figure in history_of(get_ipython()):\n"
        "    kinds = [s.kind for p in figure.facts.figure.panels for s in p.series]\n"
        "    print(figure.number, figure.facts.figure.source, *kinds, figure.image and figure.image.mime)",
        "import base64\nhistory = history_of(get_ipython())\n"
        "ends = [base64.b64encode(f.image.data)[-40:].decode() for f in history if f.image]\n"
        "print([f.facts.figure.panels[0].series[0].kind for end in ends for f in history.ending_with(end)], history.ending_with('AAAA'))\n"
        "print([history.facts_of_image(f.image.data) is f.facts for f in history if f.image], history.facts_of_image(b''))",
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
    found_by_image: Any = notebook.cells[6].outputs[0]
    assert found_by_image["text"].splitlines() == ["['line', 'bars', 'line'] []", "[True, True, True] None"]
    assert "y min 1 at x 2, max 3 at x 1" in peer.requests[-1].extras.figures[0]
