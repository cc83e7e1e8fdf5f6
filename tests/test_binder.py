"""Binder without Binder: repo2docker reads the folder, then its steps run in a fresh virtual environment, measured.

What runs there is the first example, on a real server, a real kernel, a real worker with the embedded model in 4 bit. The
shape of what it leaves is checked, not the wording.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

import nbformat
import psutil
import pytest
import yaml

# the first test of the session installs all and runs a whole notebook, on slow machines longer than any test may take
pytestmark = pytest.mark.timeout(1800)

ROOT = Path(__file__).parent.parent
LIMIT = 2 * 2**30  # what a Binder session gets
# conda-forge names that the registry of wheels knows by another name; None: not a Python package
WHEELS = {"pytorch-cpu": "torch", "matplotlib-base": "matplotlib", "python": None, "pip": None, "nodejs": None}


def _requirements() -> list[str]:
    listed = yaml.safe_load((ROOT / "binder" / "environment.yml").read_text())["dependencies"]
    found = next(entry for entry in listed if isinstance(entry, dict))["pip"]
    for entry in (entry for entry in listed if isinstance(entry, str)):
        name, rest = re.fullmatch(r"([\w.-]+)(.*)", entry).groups()
        name = WHEELS.get(name, name)
        found += [name + rest] if name else []
    return found


def test_repo2docker_reads_the_binder_folder() -> None:
    command = [sys.executable, "-m", "repo2docker", "--no-build", "--debug", "."]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    dockerfile = done.stdout + done.stderr
    assert 'env update -p ${NB_PYTHON_PREFIX} --file "binder/environment.yml"' in dockerfile
    assert "RUN ./binder/postBuild" in dockerfile
    assert "binder/start" in dockerfile


class PeakMemory(threading.Thread):
    """Watches the memory of a process and all its descendants, ten times a second, in bytes.

    held: what cannot be given back (anonymous and shared memory, shared pages counted once): what a limit is about.
    mapped: the same and pages of files, which the system drops when memory is short.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.held, self.mapped, self.done = pid, 0, 0, threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.1):
            try:
                tree = [psutil.Process(self.pid), *psutil.Process(self.pid).children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            sums = [_rollup(process.pid) for process in tree]
            self.held = max(self.held, sum(s.get("Pss_Anon", 0) + s.get("Pss_Shmem", 0) for s in sums))
            self.mapped = max(self.mapped, sum(s.get("Pss", 0) for s in sums))


def _rollup(pid: int) -> dict[str, int]:
    """The system's own sums over a process's memory (shared pages divided among their users); empty once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return {}
    return {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}


class Session(NamedTuple):
    printed: str
    notebook: nbformat.NotebookNode
    held: int
    """Bytes at the peak, as `PeakMemory` counts them."""
    mapped: int
    seconds: float


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """What `jupyter mistral demo --no-lab` printed and left, where Binder's steps had been taken."""
    folder = tmp_path_factory.mktemp("binder")
    checkout = folder / "repo"
    archive = folder / "repo.tar"
    subprocess.run(["git", "archive", "-o", archive, "HEAD"], cwd=ROOT, check=True)
    with tarfile.open(archive) as tar:
        tar.extractall(checkout, filter="data")
    venv = folder / "env"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "IPYTHON"))}
    env = {
        **keep,
        "PATH": f"{venv / 'bin'}:{os.environ['PATH']}",
        "HOME": str(folder / "home"),
        "XDG_CACHE_HOME": os.path.expanduser("~/.cache"),
    }
    (folder / "home").mkdir()
    pip = [venv / "bin" / "python", "-m", "pip", "install", "-q", "-c", ROOT / "tests" / "constraints.txt"]
    subprocess.run([*pip, *_requirements()], check=True, env=env, cwd=checkout)
    subprocess.run(["bash", "binder/postBuild"], check=True, env=env, cwd=checkout)

    command = [checkout / "binder" / "start", "jupyter", "mistral", "demo", "--no-lab", "--folder", folder / "demo"]
    started, printed = time.monotonic(), folder / "printed.txt"
    with printed.open("w") as out:
        process = subprocess.Popen(command, env={**env, "CPU_LIMIT": "1.0"}, cwd=checkout, stdout=out, stderr=out)
        memory = PeakMemory(process.pid)
        memory.start()
        code = process.wait(900)
    memory.done.set()
    assert code == 0, printed.read_text()[-3000:]
    notebook = nbformat.read(folder / "demo" / "01_first_cell.ipynb", 4)
    return Session(printed.read_text(), notebook, memory.held, memory.mapped, time.monotonic() - started)


def test_a_session_keeps_to_binders_memory(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        held, mapped, limit = (f"{count / 2**20:.0f} MiB" for count in (session.held, session.mapped, LIMIT))
        print(
            f"\nBinder session of {session.seconds:.0f} s: peak {held} held, {mapped} with pages of files, limit {limit}"
        )
    assert 300 * 2**20 < session.held < LIMIT


def _outputs(notebook: nbformat.NotebookNode, start: str) -> list[nbformat.NotebookNode]:
    return next(cell.outputs for cell in notebook.cells if cell.source.startswith(start))


def _answer(notebook: nbformat.NotebookNode, start: str) -> nbformat.NotebookNode:
    """The output of a cell that carries our provenance."""
    return next(out for out in _outputs(notebook, start) if "jupyter_mistral" in out.get("metadata", {}))


def test_every_cell_ran(session: Session) -> None:
    ours = [cell for cell in session.notebook.cells if cell.cell_type == "code" and cell.id.startswith("first-")]
    assert len(ours) >= 10
    assert [cell.execution_count for cell in ours] == list(range(1, len(ours) + 1))


def test_an_answer_is_rendered_with_its_source_and_provenance(session: Session) -> None:
    output = _answer(session.notebook, "%mistral --max-tokens 120 why")
    assert "text/markdown" not in output.data
    assert len(output.data["text/plain"]) > 80
    assert "<p" in output.data["text/html"]
    origin = output.metadata["jupyter_mistral"]
    assert origin["model"] == "qwen2.5-coder-0.5b"
    assert origin["quantization"].lower().startswith("nf4")
    assert isinstance(origin["seed"], int)
    assert output.data["text/plain"][:60] in session.printed, "the terminal shows the answer too"


def test_code_lands_in_a_new_cell_below_and_only_code(session: Session) -> None:
    at = next(i for i, cell in enumerate(session.notebook.cells) if cell.source.startswith("%%mistral -f code"))
    below = session.notebook.cells[at + 1]
    assert below.execution_count is None, "nothing generated runs by itself"
    assert "```" not in below.source
    compile(below.source, "generated", "exec")


def test_json_came_back_as_data(session: Session) -> None:
    result = next(out for out in _outputs(session.notebook, "plan.json") if out.output_type == "execute_result")
    steps = eval(result.data["text/plain"], {})
    assert 2 <= len(steps) <= 4
    assert all(isinstance(step, str) for step in steps)


def test_fix_offers_a_corrected_cell(session: Session) -> None:
    at = next(i for i, cell in enumerate(session.notebook.cells) if cell.source.startswith("%mistral fix"))
    offered = session.notebook.cells[at + 1]
    assert offered.execution_count is None
    assert offered.source.strip()
