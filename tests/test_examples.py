"""The examples run on the embedded model in 4 bit, on a real server, a real kernel, a real worker. Shape is checked, not wording."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

# the first of these tests runs a whole notebook, on slow machines longer than any test may take
pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def demo(models_home: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, nbformat.NotebookNode]:
    """What `jupyter mistral demo --no-lab` printed, and the notebook that it left."""
    folder = tmp_path_factory.mktemp("demo")
    home = folder / "home"
    home.mkdir(mode=0o700)
    (home / "models").symlink_to(models_home / "models")
    command = [sys.executable, "-m", "jupyter_mistral.cli", "demo", "--no-lab", "--folder", str(folder)]
    env = {**os.environ, "JUPYTER_MISTRAL_HOME": str(home)}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=1700, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout, nbformat.read(folder / "01_first_cell.ipynb", 4)


def _outputs(notebook: nbformat.NotebookNode, start: str) -> list[nbformat.NotebookNode]:
    return next(cell.outputs for cell in notebook.cells if cell.source.startswith(start))


def _answer(notebook: nbformat.NotebookNode, start: str) -> nbformat.NotebookNode:
    """The output of a cell that carries our provenance."""
    return next(out for out in _outputs(notebook, start) if "jupyter_mistral" in out.get("metadata", {}))


def test_every_cell_ran(demo: tuple[str, nbformat.NotebookNode]) -> None:
    ours = [cell for cell in demo[1].cells if cell.cell_type == "code" and cell.id.startswith("first-")]
    assert len(ours) >= 10
    assert [cell.execution_count for cell in ours] == list(range(1, len(ours) + 1))


def test_an_answer_is_rendered_with_its_source_and_provenance(demo: tuple[str, nbformat.NotebookNode]) -> None:
    output = _answer(demo[1], "%mistral --max-tokens 120 why")
    assert "text/markdown" not in output.data
    assert len(output.data["text/plain"]) > 80
    assert "<p" in output.data["text/html"]
    origin = output.metadata["jupyter_mistral"]
    assert origin["model"] == "qwen2.5-coder-0.5b"
    assert origin["quantization"].lower().startswith("nf4")
    assert isinstance(origin["seed"], int)
    assert output.data["text/plain"][:60] in demo[0], "the terminal shows the answer too"


def test_code_lands_in_a_new_cell_below_and_only_code(demo: tuple[str, nbformat.NotebookNode]) -> None:
    at = next(i for i, cell in enumerate(demo[1].cells) if cell.source.startswith("%%mistral -f code"))
    below = demo[1].cells[at + 1]
    assert below.execution_count is None, "nothing generated runs by itself"
    assert "```" not in below.source
    compile(below.source, "generated", "exec")


def test_json_came_back_as_data(demo: tuple[str, nbformat.NotebookNode]) -> None:
    result = next(out for out in _outputs(demo[1], "plan.json") if out.output_type == "execute_result")
    steps = eval(result.data["text/plain"], {})
    assert 2 <= len(steps) <= 4
    assert all(isinstance(step, str) for step in steps)


def test_fix_offers_a_corrected_cell(demo: tuple[str, nbformat.NotebookNode]) -> None:
    at = next(i for i, cell in enumerate(demo[1].cells) if cell.source.startswith("%mistral fix"))
    offered = demo[1].cells[at + 1]
    assert offered.execution_count is None
    assert offered.source.strip()
