"""Where the model hosts of this user tell that they run: connection files in Jupyter's runtime folders. Opens no connection."""

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
    """Jupyter's folder for running things; those of this user's other environments too, unless one was named."""
    folders = [runtime_dir()]
    if not environ.get("JUPYTER_RUNTIME_DIR"):
        home = Path.home()
        folders += [home / ".local/share/jupyter/runtime", home / "Library/Jupyter/runtime"]
        folders += [Path(environ[name]) / "jupyter" for name in ("XDG_RUNTIME_DIR",) if environ.get(name)]
        folders += [Path(environ[name]) / "jupyter/runtime" for name in ("XDG_DATA_HOME", "APPDATA") if name in environ]
    return list(dict.fromkeys(folders))


def newest(folder: Path) -> list[Path]:
    """Connection files, the latest written first."""
    dated = []
    for path in folder.glob(PATTERN):
        with contextlib.suppress(OSError):  # removed by its host meanwhile
            dated.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(dated, reverse=True)]


def candidates(environ: Mapping[str, str]) -> Iterator[Path]:
    """The file of the server that started this process, then all others of this user."""
    if environ.get(CONNECTION_ENV):
        yield Path(environ[CONNECTION_ENV])
    for folder in runtime_dirs(environ):
        yield from newest(folder)


def running(folder: Path) -> list[int]:
    """Process ids of the hosts that have a file in this folder and live."""
    found = []
    for path in newest(folder):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            pid = int(json.loads(path.read_text())["pid"])
            if is_alive(pid):
                found.append(pid)
    return found


def is_alive(pid: int) -> bool:
    if os.name == "nt":  # os.kill(pid, 0) would end it there
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
