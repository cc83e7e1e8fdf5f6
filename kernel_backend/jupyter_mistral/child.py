"""The one way this package starts processes: with a filtered environment, and without modules from the working directory.

Python's `-I` is not used: it would hide a package that is installed for one user or found through PYTHONPATH.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from subprocess import DEVNULL
from typing import IO, TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from asyncio.subprocess import Process

# Where this package is installed: Python before 3.11 has no safe path and imports from the working directory, so that must have none but
# installed modules.
PACKAGES = Path(__file__).parents[1]
MINIMAL = (
    *("PATH", "HOME", "LANG", "LC_*", "TMPDIR", "SYSTEMROOT"),
    *("PYTHON*", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "JUPYTER_MISTRAL_SEAL"),
)
# what drivers, compilers and numeric libraries read
ENGINE = (
    *MINIMAL,
    *("JUPYTER_MISTRAL_*", "JUPYTER_*_DIR", "JUPYTER_PLATFORM_DIRS", "JUPYTER_PREFER_ENV_PATH"),  # where models are
    *("USER", "LOGNAME", "TZ", "TMP", "TEMP", "XDG_*", "CONDA_*", "LD_*", "DYLD_*", "CC", "CXX"),
    *("CUDA_*", "NVIDIA_*", "NCCL_*", "CUBLAS_*", "CUDNN_*", "HIP_*", "ROCR_*", "ROCM_*", "HSA_*", "GPU_*"),
    *("OMP_*", "GOMP_*", "KMP_*", "MKL_*", "OPENBLAS_*", "MALLOC_*", "GLIBC_TUNABLES", "RAYON_*"),
    *("TORCH*", "PYTORCH_*", "TRITON_*", "BNB_*", "BITSANDBYTES_*", "HF_*", "TRANSFORMERS_*"),
)
# what downloads need, including secrets: the token of the hub, the password of a proxy or a package index
DOWNLOAD_SECRETS = ("HF_*", "HUGGING*FACE_*", "PIP_*", "*_PROXY", "*_proxy", "NETRC")
DOWNLOAD = (
    *ENGINE,
    *DOWNLOAD_SECRETS,
    *("SSL_*", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "OPENSSL_*"),
    *("APPDATA", "LOCALAPPDATA", "PROGRAMDATA", "USERPROFILE", "SYSTEMDRIVE", "COMSPEC", "PATHEXT"),
)
# the path of a file with a token of the server, which only kernels need
_NEVER = ("JUPYTER_MISTRAL_CONNECTION_FILE",)
_SECRET_NAME = re.compile(
    r"TOKEN|SECRET|PASS|CREDENTIAL|COOKIE|API_?KEY|(?:^|_)(?:KEYS?|AUTH|DSN)(?:_|$)|^(?:DBUS_|DOCKER_)", re.IGNORECASE
)
_SECRET_VALUE = re.compile(r"://[^/?#\s]*:[^/?#\s]*@")  # a URL that contains a password
_SAFE_PATH = {"PYTHONSAFEPATH": "1"}


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module with this interpreter."""
    return [sys.executable, "-m", module, *arguments]


def environment(
    parent: Mapping[str, str], allowed: Sequence[str] = MINIMAL, secrets: Sequence[str] = ()
) -> dict[str, str]:
    """The variables whose names match `allowed`, without secrets except those whose names match `secrets`."""
    kept = {name: value for name, value in parent.items() if _matches(name, allowed) and name not in _NEVER}
    return {
        name: value for name, value in kept.items() if _matches(name, secrets) or not _is_secret(name, value)
    } | _SAFE_PATH


def download_environment(parent: Mapping[str, str]) -> dict[str, str]:
    """For the only children that use the network."""
    return environment(parent, DOWNLOAD, DOWNLOAD_SECRETS)


def full_environment(parent: Mapping[str, str]) -> dict[str, str]:
    """All variables, for programs that act as the user: a model host and our own commands."""
    return {**parent, **_SAFE_PATH}


def _is_secret(name: str, value: str) -> bool:
    return bool(_SECRET_NAME.search(name) or _SECRET_VALUE.search(value))


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


async def start(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path = PACKAGES,
    stdin: int = DEVNULL,
    stdout: int = DEVNULL,
    stderr: int = DEVNULL,
    pass_fds: Sequence[int] = (),
    limit: int = 2**16,
) -> Process:
    """Start a child of this event loop. Ctrl-C in the terminal does not reach it. limit: bytes that a pipe's reader buffers."""
    import asyncio  # which the commands do without

    return await asyncio.create_subprocess_exec(
        *command,
        env=env,
        cwd=cwd,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        pass_fds=pass_fds,
        limit=limit,
        start_new_session=True,
    )


def popen(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path = PACKAGES,
    stdout: int | IO[bytes] = DEVNULL,
    stderr: int | IO[bytes] = DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start a child without an event loop. Ctrl-C in the terminal does not reach it."""
    return subprocess.Popen(
        command, env=env, cwd=cwd, stdin=DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True
    )


def run(command: Sequence[str], *, env: Mapping[str, str]) -> int:
    """Run a command in the terminal of this process, in its folder, and return its exit status."""
    return subprocess.run(command, env=env, check=False).returncode


def become(command: Sequence[str], *, env: Mapping[str, str]) -> NoReturn:
    """Replace this process (POSIX); on Windows run the command and exit with its status."""
    if os.name != "posix":
        sys.exit(run(command, env=env))
    sys.stdout.flush()
    os.execve(command[0], list(command), env)  # noqa: S606  # our own interpreter, a list
