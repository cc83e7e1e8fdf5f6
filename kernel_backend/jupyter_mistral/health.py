"""`jupyter mistral doctor`: looks at everything that answering needs, and says what to do about what is missing.

Nothing is changed and nothing heavy imported; the one thing started is a worker without a model, to try its seal.
"""

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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from . import models
from .models import catalogue, memory, store
from .models.entry import Entry
from .protocol.failures import Failure

NAME = "jupyter-mistral"
DEEP = 4 * 2**30  # models up to this size are hashed, larger ones only measured
ROOM = 64 * 2**20  # with less on the disk chats and the audit log may soon not be saved
_LARGER_DISK = "Free some space, or set JUPYTER_MISTRAL_HOME to a folder on a larger disk."
_INSTALL = "pip install 'jupyter-mistral[engine]'"


@dataclass(frozen=True)
class Check:
    """One line: what was looked at, whether it is well, what was found, what to do about it (empty when it is well)."""

    name: str
    state: Literal["ok", "warn", "blocked"]
    found: str
    todo: str = ""


def main(*, as_json: bool = False) -> int:
    """Print every check; returns 1 when one is blocked, else 0."""
    checks = []
    for check in examine():
        checks.append(check)
        if not as_json:
            print(f"{check.state.ljust(7)}  {check.name.ljust(9)}  {check.found}", flush=True)
            if check.todo:
                print(f"{' ' * 20}-> {check.todo}", flush=True)
    is_blocked = any(check.state == "blocked" for check in checks)
    if as_json:
        print(json.dumps({"ok": not is_blocked, "checks": [asdict(check) for check in checks]}, indent=1))
    return int(is_blocked)


def examine(model: str = "") -> Iterator[Check]:
    """All checks, each as soon as it is known. model: the one to look for; empty is what fits this machine."""
    looks: tuple[Callable[[], Iterator[Check]], ...] = (
        _python, _packages, _gpu, _cpu, _home,
        lambda: _memory(model), lambda: _disk(model), lambda: _model(model),
        _seal, _extension, _panel, _host,
    )  # fmt: skip
    for look in looks:
        yield from look()


def _python() -> Iterator[Check]:
    found = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info < (3, 10):  # noqa: UP036  # the doctor may be run where pip was overruled
        yield Check("python", "blocked", found, "Use Python 3.10 or newer.")
    else:
        yield Check("python", "ok", found)


def _packages() -> Iterator[Check]:
    """What the engine imports, against the ranges that our own package declares."""
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
            outside.append(f"{requirement.name} {version} (wanted {requirement.specifier})")
    if missing:
        yield Check("engine", "blocked", f"not installed: {', '.join(missing)}", f"{_INSTALL} to host a model here.")
    elif outside:
        yield Check("engine", "warn", f"untested versions: {', '.join(outside)}", f"{_INSTALL} brings tested ones.")
    else:
        main_ones = [line for line in found if line.split()[0] in ("torch", "transformers", "bitsandbytes")]
        yield Check("engine", "ok", ", ".join(main_ones))


def _gpu() -> Iterator[Check]:
    here = memory.machine()
    if not here.gpu_total:
        yield Check("gpu", "ok", "no NVIDIA GPU is visible; the embedded model runs on the CPU")
        return
    found = f"{here.gpu_name}, {memory.gib(here.gpu_free)} of {memory.gib(here.gpu_total)} free"
    try:
        torch = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        torch = ""
    if torch.endswith("+cpu"):
        yield Check(
            "gpu", "warn", f"{found}, but torch {torch} cannot use it", "Install a torch with CUDA: pytorch.org."
        )
    else:
        yield Check("gpu", "ok", found)


def _cpu() -> Iterator[Check]:
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    flags = _cpu_flags()
    has = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16") if name in flags]
    found = f"{threads} threads" + (f", {' '.join(has)}" if has else "")
    if flags and not {"avx2", "asimd"} & flags:
        yield Check(
            "cpu", "warn", f"{found}; neither AVX2 nor NEON", "Expect a fraction of the usual speed without a GPU."
        )
    elif threads < 2:
        yield Check("cpu", "warn", found, "A busy notebook and the model will wait for each other; give it 2 or more.")
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
            "folder", "blocked", f"{error.filename}: {error.strerror}", "Set JUPYTER_MISTRAL_HOME to a folder of yours."
        )
        return
    if os.name == "posix" and home.stat().st_uid != os.getuid():
        yield Check(
            "folder", "warn", f"{home} belongs to another user", "Set JUPYTER_MISTRAL_HOME to a folder of yours."
        )
    elif os.name == "posix" and mode & 0o077:
        yield Check("folder", "warn", f"{home} is open to other users ({mode:04o})", f"chmod 700 '{home}'")
    elif not os.access(home, os.W_OK):
        yield Check("folder", "blocked", f"{home} cannot be written", "Set JUPYTER_MISTRAL_HOME to a folder of yours.")
    elif is_open := _open_to_others(home):
        names = " ".join(f"'{path}'" for path in is_open)
        yield Check("folder", "warn", f"open to other users: {', '.join(map(str, is_open))}", f"chmod go= {names}")
    else:
        yield Check("folder", "ok", str(home))


def _open_to_others(home: Path) -> list[Path]:
    """What holds words, names or tokens of the user and may be read or changed by others who get at it."""
    own = [home / name for name in ("chats", "audit", "prefix", "salt", "tokens.json")]
    inside = [path for folder in own[:2] if folder.is_dir() for path in sorted(folder.iterdir())]
    found = []
    for path in (*own, *inside):
        with contextlib.suppress(OSError):  # not there, or gone since: a running server adds and removes files
            if path.stat().st_mode & 0o077:
                found.append(path)
    return found if os.name == "posix" else []


def _entry(model: str) -> Entry:
    return catalogue.find(model or models.default_name())


def _memory(model: str = "") -> Iterator[Check]:
    with contextlib.suppress(Failure):  # a model that is not known is told by `_model`
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
    wanted = memory.need(entry, 4096, device=device)
    found = f"{entry.name} needs {memory.gib(wanted)} on the {device.upper()}, {memory.gib(free)} are free"
    if free < wanted:
        yield Check("memory", "warn", found, "Close other programs (or unload the model, if it is what takes them).")
    else:
        yield Check("memory", "ok", found)


def _disk(model: str = "") -> Iterator[Check]:
    with contextlib.suppress(Failure):
        yield from _disk_for(_entry(model))


def _disk_for(entry: Entry) -> Iterator[Check]:
    free = shutil.disk_usage(store.home()).free
    wanted = max(entry.download_bytes + memory.weight_bytes(entry) - store.disk_bytes(entry.name), 0)
    if free < wanted:
        found = f"{memory.gib(free)} free, {entry.name} needs {memory.gib(wanted)} more"
        yield Check("disk", "blocked", found, _LARGER_DISK)
    elif free < ROOM:
        yield Check("disk", "warn", f"{memory.gib(free)} free: chats may not be saved", _LARGER_DISK)
    else:
        yield Check("disk", "ok", f"{memory.gib(free)} free")


def _model(model: str = "") -> Iterator[Check]:
    try:
        entry = _entry(model)
        found = store.locate(entry)
        if found.state == "absent":
            todo = f"jupyter mistral pull {model}".rstrip()
            yield Check("model", "blocked", f"{entry.name} is not on this machine", todo)
            return
        folder = found.path if found.path.is_dir() else found.path.parent
        deep = store.disk_bytes(entry.name) <= DEEP
        store.check(folder, deep=deep)
    except Failure as failure:
        yield Check("model", "blocked", failure.message, failure.todo)
        return
    how = "every byte hashed" if deep else "sizes checked"
    if found.state == "ready":
        yield Check("model", "ok", f"{entry.name} is ready in 4 bit ({how})")
    else:
        yield Check("model", "warn", f"{entry.name} is downloaded, not yet in 4 bit ({how})", "jupyter mistral pull")


def _seal() -> Iterator[Check]:
    from .commands.prepare import try_seal

    try:
        seal = try_seal(store.home())
    except (Failure, OSError) as error:
        todo = f"{_INSTALL}, then run this again."
        if isinstance(error, Failure) and error.code == "unsupported":
            todo = error.todo
        yield Check("seal", "blocked", f"no worker could be started: {error}", todo)
        return
    if seal.kind == "none":
        yield Check(
            "seal", "warn", f"the worker keeps the network: {seal.reason}", "See «What is not protected» in the README."
        )
    elif not seal.measured:
        yield Check("seal", "warn", f"{seal.kind}, but {seal.reason}", "See «What is not protected» in the README.")
    else:
        yield Check("seal", "ok", f"the worker has no network ({seal.kind}, tried out)")


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
    """What jupyter_server would read: in each folder config.d in order of names, then the file itself; Jupyter's first folder wins."""
    from jupyter_core.paths import jupyter_config_path

    told = None
    for folder in reversed([Path(path) for path in jupyter_config_path()]):
        for path in [
            *sorted((folder / "jupyter_server_config.d").glob("*.json")),
            folder / "jupyter_server_config.json",
        ]:
            told = _told_by(path, told)
    return told


def _told_by(path: Path, before: bool | None) -> bool | None:
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
        return bool(data["ServerApp"]["jpserver_extensions"]["jupyter_mistral"])
    except (OSError, ValueError, KeyError, TypeError):
        return before


def _panel() -> Iterator[Check]:
    from jupyter_core.paths import jupyter_path

    folders = [Path(path) / NAME for path in jupyter_path("labextensions")]
    if any((folder / "package.json").is_file() for folder in folders):
        yield Check("panel", "ok", "JupyterLab's half is installed")
    else:
        yield Check(
            "panel",
            "warn",
            "JupyterLab's half is not installed; magics work without it",
            f"pip install --force-reinstall {NAME}",
        )


def _host() -> Iterator[Check]:
    from .kernel.host.client import Client

    try:
        client = Client.find(start=False)
        status = client.get("/mistral/api/status")
    except Failure as failure:
        if failure.code == "engine_stopped":
            yield Check("host", "ok", "none is running now; JupyterLab or the first %mistral starts one")
        else:
            yield Check("host", "warn", failure.message, failure.todo)
        return
    yield Check("host", "ok", f"process {client.pid} is running, model {status['state']}")
    now = Failure.of_dict(status.get("failure") or {})
    if now.code == "not_recorded":
        yield Check("audit", "blocked", now.message, now.todo)
