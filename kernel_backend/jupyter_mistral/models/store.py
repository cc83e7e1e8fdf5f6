"""The models on disk and whether their files are intact. Knows nothing about networks or about what a model is."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..protocol import HOME_ENV
from ..protocol.failures import Failure

if TYPE_CHECKING:
    from .entry import Entry

MANIFEST = "manifest.json"
SOURCE, NF4, STAGING = "source", "nf4", "source.part"
CHUNK = 4 * 2**20
# files that can run code when they are loaded: never read; a folder with one is refused
UNSAFE = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".py", ".so", ".h5", ".msgpack")
_WEIGHTS = (".safetensors", ".gguf")


@dataclass(frozen=True)
class Located:
    """The files of a model on disk.

    path: what to load: a folder with safetensors, or a .gguf file. out: where its 4-bit weights go; None if `path` is
    4-bit already. state: ready (4-bit), source (downloaded), absent (`path` is where the download goes).
    """

    path: Path
    out: Path | None
    state: Literal["ready", "source", "absent"]


def home() -> Path:
    """The folder of all our data: $JUPYTER_MISTRAL_HOME, or `mistral` in Jupyter's data folder; created with mode 0700."""
    if home := os.environ.get(HOME_ENV):
        return private_folder(Path(home).expanduser())
    from jupyter_core.paths import jupyter_data_dir

    return private_folder(Path(jupyter_data_dir()) / "mistral")


def private_folder(path: Path) -> Path:
    """Create a folder that only its owner can enter, with its missing parents."""
    if not path.is_dir():
        private_folder(path.parent)  # mkdir(parents=True) would create these with the default mode
        path.mkdir(mode=0o700, exist_ok=True)
    return path


def safe_name(name: str) -> str:
    """A folder name for a model: `org/name` becomes `org--name`, a local folder its last part with a hash of its path."""
    path = Path(name).expanduser()
    if path.is_absolute() or name.startswith("."):
        digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
        name = f"{path.resolve().name}-{digest}"
    return re.sub(r"[^\w.-]", "_", name.replace("/", "--")).lstrip(".") or "_"


def model_dir(name: str) -> Path:
    """home/models/NAME, with `source` (as downloaded) and `nf4` (4-bit weights). Does not create it."""
    return home() / "models" / safe_name(name)


# ---------------------------------------------------------------------------------------------- manifests


def sha256(path: Path, seen: Callable[[int], None] = lambda n: None) -> str:
    """Hash of a file; `seen` is called with the bytes of each chunk."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            seen(len(chunk))
    return digest.hexdigest()


def files_of(folder: Path) -> Iterator[Path]:
    """Every file of a model folder except the manifest and hidden files."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden and path.name != MANIFEST:
            yield path


def write_manifest(
    folder: Path, about: Mapping[str, Any] | None = None, hashes: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Write manifest.json: size and sha256 of every file, plus `about`. hashes: those that are already known."""
    known = dict(hashes or {})
    listed = {}
    for path in files_of(folder):
        name = path.relative_to(folder).as_posix()
        listed[name] = {"size": path.stat().st_size, "sha256": known.get(name) or sha256(path)}
        path.chmod(0o600)
    manifest = {"version": 1, **(about or {}), "files": listed}
    text = json.dumps(manifest, indent=1, sort_keys=True)
    draft = folder / f".{MANIFEST}.part"
    with open(os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(folder / MANIFEST)
    return manifest


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder, None if there is none. Raises `Failure("corrupt_model")` if it is malformed."""
    path = folder / MANIFEST
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        raise corrupt(path, "cannot be read") from None
    files = data.get("files") if isinstance(data, dict) else None
    if not isinstance(files, dict) or not files or not all(_is_listed(v) for v in files.values()):
        raise corrupt(path, "does not list the model's files")
    return dict(data)


def _is_listed(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("size"), int) and isinstance(value.get("sha256"), str)


def check(folder: Path, *, deep: bool = False, seen: Callable[[int], None] = lambda n: None) -> dict[str, Any] | None:
    """Compare a folder with its manifest: sizes, with `deep` also hashes. Raises `corrupt_model` naming the file."""
    manifest = read_manifest(folder)
    if manifest is None:
        return None
    for name, listed in manifest["files"].items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise corrupt(folder / MANIFEST, f"lists {name!r}, which is outside the folder")
        if not path.is_file():
            raise corrupt(path, "is missing")
        if path.stat().st_size != listed["size"]:
            raise corrupt(path, f"has {path.stat().st_size:,} bytes instead of {listed['size']:,}")
        if deep and sha256(path, seen) != listed["sha256"]:
            raise corrupt(path, "was changed: its sha256 differs")
    return manifest


def corrupt(path: Path, what: str) -> Failure:
    """The failure for a damaged file, with the command that repairs it."""
    name = model_of(path)
    todo = f"Run `jupyter mistral pull {name}` to repair it." if name else "Download the model again."
    return Failure("corrupt_model", f"{path.name} of the model in {path.parent} {what}.", todo)


def model_of(path: Path) -> str:
    """The model's name for a path in its folder; "" for a path outside our home."""
    root = home() / "models"
    try:
        return path.absolute().relative_to(root.absolute()).parts[0].replace("--", "/")
    except (ValueError, IndexError):
        return ""


# ---------------------------------------------------------------------------------------------- finding


def locate(entry: Entry) -> Located:
    """Find a model on disk. Raises `Failure("corrupt_model")` naming the damaged file, `unsupported` for code."""
    folder = model_dir(entry.name)
    nf4 = folder / NF4
    source = Path(entry.folder) if entry.folder else folder / SOURCE
    if is_ready(nf4) and not (entry.folder and _is_newer(source, nf4)):
        return Located(nf4, None, "ready")
    if not entry.folder and check(source) is None:
        return Located(source, nf4, "absent")
    refuse_code(source)
    if is_4bit(source):
        return Located(source, None, "ready")
    files = sorted(source.glob("*.gguf"))
    return Located(files[0] if files else source, nf4, "source")


def delete_damaged(entry: Entry, seen: Callable[[int], None] = lambda n: None) -> list[str]:
    """Hash a model's files in our home and delete each folder (`nf4`, `source`) that is damaged; returns their names.

    4-bit weights made from a deleted download stay: they have their own hashes.
    """
    dropped = []
    for half in (NF4, SOURCE):
        folder = model_dir(entry.name) / half
        try:
            check(folder, deep=True, seen=seen)
        except Failure:
            shutil.rmtree(folder, ignore_errors=True)
            dropped.append(half)
    return dropped


def is_ready(nf4: Path) -> bool:
    """Whether the folder has complete 4-bit weights. Raises `corrupt_model` if they are damaged."""
    return check(nf4) is not None


def is_4bit(folder: Path) -> bool:
    """Whether a folder's config.json says that its weights are quantized to 4-bit by bitsandbytes."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("quantization_config") or {}
    except (OSError, ValueError, AttributeError):
        return False
    return bool(config.get("load_in_4bit"))


def _is_newer(source: Path, made: Path) -> bool:
    """Whether a local folder changed after its 4-bit weights were made."""
    stamp = (made / MANIFEST).stat().st_mtime
    return any(path.stat().st_mtime > stamp for path in files_of(source))


def refuse_code(folder: Path) -> None:
    """Raise `Failure("unsupported")` for a folder with code or pickles, or whose config asks for code."""
    for path in files_of(folder):
        if path.suffix.lower() in UNSAFE:
            raise Failure(
                "unsupported",
                f"{path.name} in {folder} can run code when it is loaded; only safetensors are read.",
                "Remove that file, or use a copy of the model in safetensors.",
            )
        if path.suffix == ".json" and path.stat().st_size < 2**20 and b'"auto_map"' in path.read_bytes():
            raise Failure(
                "unsupported",
                f"{path.name} in {folder} needs the model's own code (auto_map), which is never run.",
                "Use a model whose architecture transformers knows.",
            )
    if not any(path.suffix in _WEIGHTS for path in files_of(folder)):
        raise Failure(
            "unsupported",
            f"{folder} has no safetensors weights.",
            "Choose a folder with config.json and *.safetensors files.",
        )


def bytes_in(folder: Path, size: Callable[[os.stat_result], int] = lambda info: info.st_size) -> int:
    """Bytes of all files in a folder, without links and without files that another process removes meanwhile."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                info = os.lstat(os.path.join(parent, name))
                total += size(info) if stat.S_ISREG(info.st_mode) else 0
    return total


def disk_bytes(name: str) -> int:
    """Bytes of a model in our home, unfinished downloads included."""
    return bytes_in(model_dir(name))


def remove(name: str, *, only_source: bool = False) -> int:
    """Delete a model from our home (only_source: keep the 4-bit weights); returns the bytes freed."""
    folder = model_dir(name)
    before = disk_bytes(name)
    for path in [folder / SOURCE, folder / STAGING] if only_source else [folder]:
        shutil.rmtree(path, ignore_errors=True)
    return before - disk_bytes(name)


def forget_empty(name: str) -> None:
    """Remove a model's folder if it is empty; call with its lock held."""
    folder = model_dir(name)
    if not disk_bytes(name):
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def lock(name: str) -> Iterator[None]:
    """Lock a model's folder against a second download. Raises `Failure("busy")` if another process has it."""
    folder = private_folder(model_dir(name))
    handle = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        try:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # Windows: no lock there
            pass
        except OSError:
            raise Failure(
                "busy", f"Another process is downloading {name}.", "Wait until it is done, then try again."
            ) from None
        yield
    finally:
        os.close(handle)
