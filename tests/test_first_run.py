"""What README's run command leaves: every cell ran on a real server, kernel and worker. Its shape is checked, not its wording.

The short check looks at one run in this environment; --all at a second one, made by Binder's steps in an environment of its own.
"""

from __future__ import annotations

import subprocess
import sys

import nbformat
import pytest
from first_run import NOTEBOOK, ROOT, FirstRun, run_as_binder, run_here

# whoever runs first installs all or runs a whole notebook, on slow machines longer than any test may take
pytestmark = pytest.mark.timeout(1800)

LIMIT = 2 * 2**30  # bytes: what a Binder session gets


@pytest.fixture(scope="module")
def binder_run(tmp_path_factory: pytest.TempPathFactory) -> FirstRun:
    return run_as_binder(tmp_path_factory.mktemp("binder"))


@pytest.fixture(scope="module", params=["here", pytest.param("binder", marks=pytest.mark.slow)])
def first_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FirstRun:
    if request.param == "binder":
        return request.getfixturevalue("binder_run")
    return run_here(tmp_path_factory.mktemp("first"), request.getfixturevalue("models_home"))


def test_repo2docker_reads_the_binder_folder() -> None:
    command = [sys.executable, "-m", "repo2docker", "--no-build", "--debug", "."]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    dockerfile = done.stdout + done.stderr
    assert 'env update -p ${NB_PYTHON_PREFIX} --file "binder/environment.yml"' in dockerfile
    assert "RUN ./binder/postBuild" in dockerfile
    assert "binder/start" in dockerfile


@pytest.mark.slow
def test_a_session_keeps_to_binders_memory(binder_run: FirstRun, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        held, mapped, limit = (f"{count / 2**20:.0f} MiB" for count in (binder_run.held, binder_run.mapped, LIMIT))
        print(f"\nBinder session: peak {held} held, {mapped} with pages of files, limit {limit}")
    assert 300 * 2**20 < binder_run.held < LIMIT


def _example() -> nbformat.NotebookNode:
    return nbformat.read(ROOT / "examples" / NOTEBOOK, 4)


def _outputs(notebook: nbformat.NotebookNode, start: str) -> list[nbformat.NotebookNode]:
    return next(cell.outputs for cell in notebook.cells if cell.source.startswith(start))


def _answer(notebook: nbformat.NotebookNode, start: str) -> nbformat.NotebookNode:
    """The output of a cell that carries our provenance."""
    return next(out for out in _outputs(notebook, start) if "jupyter_mistral" in out.get("metadata", {}))


def test_every_cell_ran(first_run: FirstRun) -> None:
    ours = [cell for cell in first_run.notebook.cells if cell.cell_type == "code" and cell.id.startswith("first-")]
    assert [cell.id for cell in ours] == [cell.id for cell in _example().cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in ours] == list(range(1, len(ours) + 1))


def test_an_answer_is_rendered_with_its_source_and_provenance(first_run: FirstRun) -> None:
    output = _answer(first_run.notebook, "%mistral --max-tokens 120 why")
    assert "text/markdown" not in output.data
    assert output.data["text/plain"].strip()
    assert "<p" in output.data["text/html"]
    origin = output.metadata["jupyter_mistral"]
    assert origin["model"] == "qwen2.5-coder-0.5b"
    assert origin["quantization"].lower().startswith("nf4")
    assert isinstance(origin["seed"], int)
    assert output.data["text/plain"][:60] in first_run.printed, "the terminal shows the answer too"


def test_code_lands_in_a_new_cell_below_and_only_code(first_run: FirstRun) -> None:
    at = next(i for i, cell in enumerate(first_run.notebook.cells) if cell.source.startswith("%%mistral -f code"))
    below = first_run.notebook.cells[at + 1]
    assert below.execution_count is None, "nothing generated runs by itself"
    assert "```" not in below.source
    compile(below.source, "generated", "exec")


def test_json_came_back_as_data(first_run: FirstRun) -> None:
    result = next(out for out in _outputs(first_run.notebook, "plan.json") if out.output_type == "execute_result")
    steps = eval(result.data["text/plain"], {})
    assert 2 <= len(steps) <= 4
    assert all(isinstance(step, str) for step in steps)


def test_what_fix_offers_is_a_cell_below_that_has_not_run(first_run: FirstRun) -> None:
    """The example ends with `%mistral fix`, so a cell behind it was put there by the magic."""
    fix, offered = first_run.notebook.cells[-2:]
    assert fix.source == "%mistral fix"
    assert not offered.id.startswith("first-")
    assert (offered.cell_type, offered.execution_count, offered.outputs) == ("code", None, [])
    assert offered.source.strip()
    assert f"── new cell below ──\n{offered.source}\n" in first_run.printed
