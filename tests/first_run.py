"""The first example, executed by `jupyter mistral demo` with real parts: in this environment, or in one made by Binder's steps."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import threading
from pathlib import Path
from typing import NamedTuple

import nbformat
import psutil
import yaml

ROOT = Path(__file__).parent.parent
NOTEBOOK = "01_first_cell.ipynb"
PRINTED = "printed.txt"
# names the folder in which README's run command was just executed, its terminal's text beside the notebooks
FIRST_RUN = "JUPYTER_MISTRAL_FIRST_RUN"
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


class FirstRun(NamedTuple):
    """What a run printed and left. held, mapped: bytes at its peak as `PeakMemory` counts them, 0 where nobody watched."""

    printed: str
    notebook: nbformat.NotebookNode
    held: int = 0
    mapped: int = 0


def run_here(folder: Path, models_home: Path) -> FirstRun:
    """The run that README's command has just made, or one made now, in `folder`."""
    if made := os.environ.get(FIRST_RUN):
        return _read(Path(made))
    home = folder / "home"
    home.mkdir(mode=0o700)
    (home / "models").symlink_to(models_home / "models")
    command = [sys.executable, "-m", "jupyter_mistral.cli", "demo", "--no-lab", "--folder", str(folder)]
    with (folder / PRINTED).open("w") as out:
        env = {**os.environ, "JUPYTER_MISTRAL_HOME": str(home)}
        code = subprocess.run(command, env=env, stdout=out, stderr=out, timeout=900, check=False).returncode
    assert code == 0, (folder / PRINTED).read_text()[-3000:]
    return _read(folder)


def _read(folder: Path) -> FirstRun:
    return FirstRun((folder / PRINTED).read_text(), nbformat.read(folder / NOTEBOOK, 4))


def run_as_binder(folder: Path) -> FirstRun:
    """In a fresh environment with what `binder/` asks for, its peak of memory watched."""
    checkout, venv, demo = folder / "repo", folder / "env", folder / "demo"
    archive = folder / "repo.tar"
    subprocess.run(["git", "archive", "-o", archive, "HEAD"], cwd=ROOT, check=True)
    with tarfile.open(archive) as tar:
        tar.extractall(checkout, filter="data")
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "IPYTHON"))}
    env = {
        **keep,
        "PATH": f"{venv / 'bin'}:{os.environ['PATH']}",
        "HOME": str(folder / "home"),
        "XDG_CACHE_HOME": os.path.expanduser("~/.cache"),
    }
    (folder / "home").mkdir()
    demo.mkdir()
    pip = [venv / "bin" / "python", "-m", "pip", "install", "-q", "-c", ROOT / "tests" / "constraints.txt"]
    subprocess.run([*pip, *_requirements()], check=True, env=env, cwd=checkout)
    subprocess.run(["bash", "binder/postBuild"], check=True, env=env, cwd=checkout)
    command = [checkout / "binder" / "start", "jupyter", "mistral", "demo", "--no-lab", "--folder", demo]
    with (demo / PRINTED).open("w") as out:
        process = subprocess.Popen(command, env={**env, "CPU_LIMIT": "1.0"}, cwd=checkout, stdout=out, stderr=out)
        memory = PeakMemory(process.pid)
        memory.start()
        code = process.wait(900)
    memory.done.set()
    assert code == 0, (demo / PRINTED).read_text()[-3000:]
    return _read(demo)._replace(held=memory.held, mapped=memory.mapped)


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
