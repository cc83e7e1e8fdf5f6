"""Checks of everything that an answer needs, with what to do about each that fails. Changes nothing, imports nothing heavy."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from . import models
from .models import catalogue, memory, store
from .models.entry import Entry
from .protocol.failures import Failure
from .protocol.status import Seal

NAME = "jupyter-mistral"
MAX_HASHED_BYTES = 4 * 2**30  # of larger models only the file sizes are checked
MIN_FREE_BYTES = 64 * 2**20  # with less free disk space, chats and the audit log may soon not be saved
_LARGER_DISK = "Free some space, or set JUPYTER_MISTRAL_HOME to a folder on a larger disk."
_INSTALL = "pip install 'jupyter-mistral[engine]'"


@dataclass(frozen=True)
class Check:
    """One line of the report. found: what was found. todo: what to do about it, "" when state is ok."""

    name: str
    state: Literal["ok", "warn", "blocked"]
    found: str
    todo: str = ""


def examine(model: str = "", try_seal: Callable[[Path], Seal] | None = None) -> Iterator[Check]:
    """All checks, each as soon as it is done. model: the one to look for; "" is the default for this machine.

    try_seal: starts a worker in a folder and returns its seal. Without it only the cheap checks run: no process is started
    and no weights are read.
    """
    is_quick = try_seal is None
    checks: list[Callable[[], Iterator[Check]]] = [_python, _packages, _gpu, _cpu, _home]
    checks += [lambda: _memory(model), lambda: _disk(model), lambda: _model(model, is_quick)]
    checks += [] if try_seal is None else [lambda: _seal(try_seal)]
    for check in [*checks, _extension, _panel, _host]:
        yield from check()


def _python() -> Iterator[Check]:
    found = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info < (3, 10):  # noqa: UP036  # pip may have been told to ignore the requirement
        yield Check("python", "blocked", found, "Use Python 3.10 or newer.")
    else:
        yield Check("python", "ok", found)


def _packages() -> Iterator[Check]:
    """The packages that the engine imports, compared with the version ranges that our package declares."""
    from packaging.requirements import Requirement

    missing, outside, found = [], [], []
    for requirement in map(Requirement, importlib.metadata.requires(NAME) or ()):
        if not requirement.marker or not requirement.marker.evaluate({"extra": "engine"}):
            continue
        if requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(requirement.name)
            continue
        found.append(f"{requirement.name} {version}")
        if not requirement.specifier.contains(version, prereleases=True):
            outside.append(f"{requirement.name} {version} (supported: {requirement.specifier})")
    if missing:
        yield Check("engine", "blocked", f"not installed: {', '.join(missing)}", f"{_INSTALL} to host a model here.")
    elif outside:
        yield Check(
            "engine", "warn", f"untested versions: {', '.join(outside)}", f"{_INSTALL} installs tested versions."
        )
    else:
        main_ones = [line for line in found if line.split()[0] in ("torch", "transformers", "bitsandbytes")]
        yield Check("engine", "ok", ", ".join(main_ones))


def _gpu() -> Iterator[Check]:
    here = memory.machine()
    if not here.gpu_total:
        yield Check("gpu", "ok", "no NVIDIA GPU found; models run on the CPU")
        return
    found = f"{here.gpu_name}, {memory.gib(here.gpu_free)} of {memory.gib(here.gpu_total)} free"
    try:
        torch = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        torch = ""
    if torch.endswith("+cpu"):
        yield Check(
            "gpu", "warn", f"{found}, but torch {torch} cannot use it", "Install a CUDA build of torch: pytorch.org."
        )
    else:
        yield Check("gpu", "ok", found)


def _cpu() -> Iterator[Check]:
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    flags = _cpu_flags()
    has = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16") if name in flags]
    found = f"{threads} threads" + (f", {' '.join(has)}" if has else "")
    if flags and not {"avx2", "asimd"} & flags:
        yield Check("cpu", "warn", f"{found}; neither AVX2 nor NEON", "Without a GPU, answers will be very slow.")
    elif threads < 2:
        yield Check(
            "cpu", "warn", found, "The notebook and the model will slow each other down. Use 2 or more CPU threads."
        )
    else:
        yield Check("cpu", "ok", found)


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    return next(
        (set(line.split(":")[1].split()) for line in lines if line.lower().startswith(("flags", "features"))), set()
    )


def _home() -> Iterator[Check]:
    try:
        home = store.home()
        mode = stat.S_IMODE(home.stat().st_mode)
    except OSError as error:
        yield Check(
            "folder",
            "blocked",
            f"{error.filename}: {error.strerror}",
            "Set JUPYTER_MISTRAL_HOME to a folder that you own.",
        )
        return
    if os.name == "posix" and home.stat().st_uid != os.getuid():
        yield Check(
            "folder", "warn", f"{home} belongs to another user", "Set JUPYTER_MISTRAL_HOME to a folder that you own."
        )
    elif os.name == "posix" and mode & 0o077:
        yield Check("folder", "warn", f"other users can read {home} ({mode:04o})", f"chmod 700 '{home}'")
    elif not os.access(home, os.W_OK):
        yield Check(
            "folder", "blocked", f"{home} is not writable", "Set JUPYTER_MISTRAL_HOME to a folder that you own."
        )
    elif exposed := _exposed(home):
        names = " ".join(f"'{path}'" for path in exposed)
        yield Check("folder", "warn", f"other users can read {', '.join(map(str, exposed))}", f"chmod go= {names}")
    else:
        yield Check("folder", "ok", str(home))


def _exposed(home: Path) -> list[Path]:
    """Files and folders with the user's texts, names or tokens that other users can read or change."""
    own = [home / name for name in ("chats", "audit", "prefix", "salt", "tokens.json")]
    inside = [path for folder in own[:2] if folder.is_dir() for path in sorted(folder.iterdir())]
    exposed = []
    for path in (*own, *inside):
        with contextlib.suppress(OSError):  # missing, or removed meanwhile by a running server
            if path.stat().st_mode & 0o077:
                exposed.append(path)
    return exposed if os.name == "posix" else []


def _entry(model: str) -> Entry:
    return catalogue.find(model or models.default_name())


def _memory(model: str = "") -> Iterator[Check]:
    with contextlib.suppress(Failure):  # `_model` reports an unknown model
        yield from _memory_for(_entry(model))


def _memory_for(entry: Entry) -> Iterator[Check]:
    here = memory.machine()
    fit = memory.fits(entry, 4096, here)
    if fit.where == "no":
        yield Check(
            "memory", "blocked", f"{entry.name}: {fit.reason}", "Use a machine with more memory, or a smaller model."
        )
        return
    device: Literal["gpu", "cpu"] = fit.where
    free = here.gpu_free if device == "gpu" else here.ram_free
    needed = memory.need(entry, 4096, device=device)
    found = f"{entry.name} needs {memory.gib(needed)} on the {device.upper()}; {memory.gib(free)} free"
    if free < needed:
        yield Check("memory", "warn", found, "Close other programs, or unload the model if it is loaded.")
    else:
        yield Check("memory", "ok", found)


def _disk(model: str = "") -> Iterator[Check]:
    with contextlib.suppress(Failure):
        yield from _disk_for(_entry(model))


def _disk_for(entry: Entry) -> Iterator[Check]:
    free = shutil.disk_usage(store.home()).free
    needed = max(entry.download_bytes + memory.weight_bytes(entry) - store.disk_bytes(entry.name), 0)
    if free < needed:
        found = f"{memory.gib(free)} free, {entry.name} needs {memory.gib(needed)} more"
        yield Check("disk", "blocked", found, _LARGER_DISK)
    elif free < MIN_FREE_BYTES:
        yield Check("disk", "warn", f"{memory.gib(free)} free: chats may not be saved", _LARGER_DISK)
    else:
        yield Check("disk", "ok", f"{memory.gib(free)} free")


def _model(model: str = "", is_quick: bool = False) -> Iterator[Check]:
    try:
        entry = _entry(model)
        location = store.locate(entry)
        if location.state == "absent":
            todo = f"jupyter mistral pull {model}".rstrip()
            yield Check("model", "blocked", f"{entry.name} is not downloaded", todo)
            return
        folder = location.path if location.path.is_dir() else location.path.parent
        is_hashed = not is_quick and store.disk_bytes(entry.name) <= MAX_HASHED_BYTES
        store.check(folder, deep=is_hashed)
    except Failure as failure:
        yield Check("model", "blocked", failure.message, failure.todo)
        return
    method = "all files hashed" if is_hashed else "file sizes checked"
    if location.state == "ready":
        yield Check("model", "ok", f"{entry.name} is ready in 4-bit ({method})")
    else:
        yield Check("model", "warn", f"{entry.name} is downloaded but not quantized ({method})", "jupyter mistral pull")


def _seal(try_seal: Callable[[Path], Seal]) -> Iterator[Check]:
    see_readme = "See 'What is not protected' in the README."
    try:
        seal = try_seal(store.home())
    except (Failure, OSError) as error:
        is_unsupported = isinstance(error, Failure) and error.code == "unsupported"
        todo = error.todo if isinstance(error, Failure) and is_unsupported else f"{_INSTALL}, then run this again."
        yield Check("seal", "blocked", f"the model process could not be started: {error}", todo)
        return
    if seal.kind == "none":
        yield Check("seal", "warn", f"the model process has network access: {seal.reason}", see_readme)
    elif not seal.measured:
        yield Check("seal", "warn", f"blocked by {seal.kind}, but {seal.reason}", see_readme)
    else:
        yield Check("seal", "ok", f"the model process has no network access (verified, {seal.kind})")


def _extension() -> Iterator[Check]:
    enabled = _is_extension_enabled()
    if enabled:
        yield Check("server", "ok", "the server extension is enabled")
    else:
        todo = "jupyter server extension enable jupyter_mistral"
        yield Check(
            "server", "warn", f"the server extension is {'disabled' if enabled is False else 'not enabled'}", todo
        )


def _is_extension_enabled() -> bool | None:
    """Read Jupyter's settings in its own order: in each folder config.d by name, then the file itself; the first folder wins."""
    from jupyter_core.paths import jupyter_config_path

    enabled = None
    for folder in reversed([Path(path) for path in jupyter_config_path()]):
        for path in [
            *sorted((folder / "jupyter_server_config.d").glob("*.json")),
            folder / "jupyter_server_config.json",
        ]:
            enabled = _setting_in(path, enabled)
    return enabled


def _setting_in(path: Path, otherwise: bool | None) -> bool | None:
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
        return bool(data["ServerApp"]["jpserver_extensions"]["jupyter_mistral"])
    except (OSError, ValueError, KeyError, TypeError):
        return otherwise


def _panel() -> Iterator[Check]:
    from jupyter_core.paths import jupyter_path

    folders = [Path(path) / NAME for path in jupyter_path("labextensions")]
    if any((folder / "package.json").is_file() for folder in folders):
        yield Check("panel", "ok", "the JupyterLab extension is installed")
    else:
        yield Check(
            "panel",
            "warn",
            "the JupyterLab extension is not installed; magics work without it",
            f"pip install --force-reinstall {NAME}",
        )


def _host() -> Iterator[Check]:
    from .kernel.host.client import Client

    try:
        client = Client.find(start=False)
        status = client.get("/mistral/api/status")
    except Failure as failure:
        if failure.code == "engine_stopped":
            yield Check("host", "ok", "not running; JupyterLab or the first %mistral starts it")
        else:
            yield Check("host", "warn", failure.message, failure.todo)
        return
    yield Check(
        "host",
        "ok",
        f"running (pid {client.pid}), {'no model loaded' if status['state'] == 'unloaded' else 'model ' + status['state']}",
    )
    now = Failure.of_dict(status.get("failure") or {})
    if now.code == "not_recorded":
        yield Check("audit", "blocked", now.message, now.todo)
