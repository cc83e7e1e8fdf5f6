"""The example about documents runs on the embedded model in 4 bit; what is read is exact, of what is said only the shape is checked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

NAME = "03_read_pdf.ipynb"
RUN = """
import sys
from pathlib import Path
from jupyter_mistral.commands.demo import execute
from jupyter_mistral.notebook_runner import serving

folder = Path(sys.argv[1])
with serving(folder, lab=False, log=folder / "server.log") as server:
    execute(server, sys.argv[2])
"""


# the first of these tests runs a whole notebook, on slow machines longer than any test may take
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def executed(models_home: Path, tmp_path_factory: pytest.TempPathFactory) -> nbformat.NotebookNode:
    folder = tmp_path_factory.mktemp("pdf")
    home = folder / "home"
    home.mkdir(mode=0o700)
    (home / "models").symlink_to(models_home / "models")
    (folder / NAME).write_bytes((Path(__file__).parent.parent / "examples" / NAME).read_bytes())
    command = [sys.executable, "-c", RUN, str(folder), NAME]
    env = {**os.environ, "JUPYTER_MISTRAL_HOME": str(home)}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=1700, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return nbformat.read(folder / NAME, 4)


def outputs(notebook: nbformat.NotebookNode, start: str) -> list[nbformat.NotebookNode]:
    return next(cell.outputs for cell in notebook.cells if cell.source.startswith(start))


def test_the_document_is_read_exactly(executed: nbformat.NotebookNode) -> None:
    assert outputs(executed, "print(table)")[0].text == (
        "[page 2]\n\n# The harvest\n\nApples and pears are weighed at the gate, in tonnes.\n\n"
        "| Year | Apples (t) | Pears (t) |\n| --- | --- | --- |\n| 2021 | 412 | 118 |\n| 2022 | 389 | 131 |\n| 2023 | 455 | 97 |\n"
    )
    told = outputs(executed, "%mistral read harvest.pdf --pages")[-1].data["text/plain"]
    assert told.startswith("harvest.pdf: 1 of 3 pages.")


def test_the_question_had_the_document_before_it(executed: nbformat.NotebookNode) -> None:
    answers = outputs(executed, "%mistral --max-tokens")
    assert [
        out.metadata["jupyter_mistral"]["generated"] for out in answers if "jupyter_mistral" in out.get("metadata", {})
    ] == [True]
    assert "2 exchanges and 1 document" in outputs(executed, "%mistral reset")[-1].data["text/plain"]


def test_the_table_came_back_as_data(executed: nbformat.NotebookNode) -> None:
    rows = eval(outputs(executed, "apples.json")[-1].data["text/plain"], {})
    assert len(rows) == 3 and all(set(row) == {"year", "apples"} for row in rows)
