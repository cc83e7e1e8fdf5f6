"""Finds this user's running model hosts by their connection files in Jupyter's runtime folders. Opens no connection."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from .protocol import CONNECTION_ENV

PATTERN = "mistral-*.json"


def file_name(pid: int) -> str:
    return f"mistral-{pid}.json"


def runtime_dir() -> Path:
    from jupyter_core.paths import jupyter_runtime_dir

    return Path(jupyter_runtime_dir())


def runtime_dirs(environ: Mapping[str, str]) -> list[Path]:
    """Jupyter's runtime folder, and those of this user's other environments unless JUPYTER_RUNTIME_DIR is set."""
    folders = [runtime_dir()]
    if not environ.get("JUPYTER_RUNTIME_DIR"):
        home = Path.home()
        folders += [home / ".local/share/jupyter/runtime", home / "Library/Jupyter/runtime"]
        folders += [Path(environ[name]) / "jupyter" for name in ("XDG_RUNTIME_DIR",) if environ.get(name)]
        folders += [Path(environ[name]) / "jupyter/runtime" for name in ("XDG_DATA_HOME", "APPDATA") if name in environ]
    return list(dict.fromkeys(folders))


def newest(folder: Path) -> list[Path]:
    """Connection files in a folder, newest first."""
    files = []
    for path in folder.glob(PATTERN):
        with contextlib.suppress(OSError):  # just removed by its host
            files.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(files, reverse=True)]


def candidates(environ: Mapping[str, str]) -> Iterator[Path]:
    """The connection file of the server that started this process, then all others of this user."""
    if environ.get(CONNECTION_ENV):
        yield Path(environ[CONNECTION_ENV])
    for folder in runtime_dirs(environ):
        yield from newest(folder)


def running(folder: Path) -> list[int]:
    """Process ids of the running hosts with a file in this folder."""
    pids = []
    for path in newest(folder):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            pid = int(json.loads(path.read_text())["pid"])
            if is_alive(pid):
                pids.append(pid)
    return pids


def is_alive(pid: int) -> bool:
    if os.name == "nt":  # os.kill(pid, 0) would end the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
