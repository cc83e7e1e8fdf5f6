"""Binder without Binder: repo2docker reads the folder, then its steps run in a fresh virtual environment, measured."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import nbformat
import psutil
import pytest
import yaml

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


@pytest.mark.timeout(1500)
def test_the_binder_steps_run_the_first_notebook_within_its_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkout = tmp_path / "repo"
    archive = tmp_path / "repo.tar"
    subprocess.run(["git", "archive", "-o", archive, "HEAD"], cwd=ROOT, check=True)
    with tarfile.open(archive) as tar:
        tar.extractall(checkout, filter="data")
    venv = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "IPYTHON"))}
    env = {
        **keep,
        "PATH": f"{venv / 'bin'}:{os.environ['PATH']}",
        "HOME": str(tmp_path / "home"),
        "XDG_CACHE_HOME": os.path.expanduser("~/.cache"),
    }
    (tmp_path / "home").mkdir()
    pip = [venv / "bin" / "python", "-m", "pip", "install", "-q", "-c", ROOT / "tests" / "constraints.txt"]
    subprocess.run([*pip, *_requirements()], check=True, env=env, cwd=checkout)
    subprocess.run(["bash", "binder/postBuild"], check=True, env=env, cwd=checkout)

    command = [checkout / "binder" / "start", "jupyter", "mistral", "demo", "--no-lab", "--folder", tmp_path / "demo"]
    started = time.monotonic()
    session = subprocess.Popen(command, env={**env, "CPU_LIMIT": "1.0"}, cwd=checkout, stdout=subprocess.DEVNULL)
    memory = PeakMemory(session.pid)
    memory.start()
    assert session.wait(600) == 0
    memory.done.set()
    with capsys.disabled():
        held, mapped, limit = (f"{count / 2**20:.0f} MiB" for count in (memory.held, memory.mapped, LIMIT))
        print(
            f"\nBinder session of {time.monotonic() - started:.0f} s: peak {held} held, {mapped} with pages of files, limit {limit}"
        )
    assert 300 * 2**20 < memory.held < LIMIT
    notebook = nbformat.read(tmp_path / "demo" / "01_first_cell.ipynb", 4)
    assert all(
        cell.execution_count for cell in notebook.cells if cell.cell_type == "code" and cell.id.startswith("first-")
    )
