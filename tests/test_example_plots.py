"""The example about plots runs on the built-in model in 4-bit. Its numbers are exact, whatever the model says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

NAME = "02_explain_plot.ipynb"
RUN = """
import sys
from pathlib import Path
from jupyter_mistral.commands.demo import execute
from jupyter_mistral.notebook_runner import serving

folder = Path(sys.argv[1])
with serving(folder, lab=False, log=folder / "server.log") as server:
    execute(server, sys.argv[2])
"""


# the first of these tests runs a whole notebook, which on slow machines takes longer than the default timeout
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def executed(models_home: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nbformat.NotebookNode]:
    """Return the folder, and the notebook after its run."""
    folder = tmp_path_factory.mktemp("plots")
    home = folder / "home"
    home.mkdir(mode=0o700)
    (home / "models").symlink_to(models_home / "models")
    source = Path(__file__).parent.parent / "examples" / NAME
    (folder / NAME).write_bytes(source.read_bytes())
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(folder), NAME],
        capture_output=True,
        text=True,
        env={**os.environ, "JUPYTER_MISTRAL_HOME": str(home)},
        timeout=1700,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder, nbformat.read(folder / NAME, 4)


def answer(notebook: nbformat.NotebookNode, cell: str) -> str:
    """Return the text of the cell's answer."""
    outputs = next(c.outputs for c in notebook.cells if c.id == cell)
    output = next(out for out in outputs if "jupyter_mistral" in out.get("metadata", {}))
    assert "<p" in output.data["text/html"]
    return str(output.data["text/plain"])


def test_explanations_begin_with_exact_numbers(executed: tuple[Path, nbformat.NotebookNode]) -> None:
    river, bars, chart = (answer(executed[1], cell) for cell in ("plot-02", "plot-05", "plot-09"))
    assert "title: The river in March" in river
    assert "line “station A”: 8 points" in river and "max 7.2 at x 2024-03-04" in river
    assert "line “station B”" in river and "min 1.76 at x 2024-03-01" in river
    assert "the y axis of the bars runs from 92 to 99 and leaves out zero" in bars
    assert "y “price (EUR)”" in chart and "min 280 at x 2021, max 510 at x 2024" in chart
    for text in (river, bars, chart):
        assert "(this model cannot see images)" in text
        assert text.partition("**In plain words:** The figure shows ")[2].strip(), "then the model's own words"


def test_the_answer_about_a_figure_says_that_the_model_did_not_see_it(
    executed: tuple[Path, nbformat.NotebookNode],
) -> None:
    said = answer(executed[1], "plot-07")
    assert said.startswith("*From the figure's data (this model cannot see images).*\n\n")


def test_alt_text_was_shown_and_then_written(executed: tuple[Path, nbformat.NotebookNode]) -> None:
    folder, notebook = executed
    shown = json.dumps([c.outputs for c in notebook.cells if c.id == "plot-12"], ensure_ascii=False)
    assert "+Line plot of price (EUR) against year. Lowest value: 280 at 2021; highest: 510 at 2024." in shown
    report = nbformat.read(folder / "report.ipynb", 4)
    alt = report.cells[1].outputs[0].metadata["application/vnd.vegalite.v5+json"]["alt"]
    assert alt.startswith("Line plot of price (EUR) against year.")
