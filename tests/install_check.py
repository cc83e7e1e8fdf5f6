"""Install the package into an environment of its own with this Python, and run its commands: `python tests/install_check.py`.

The base package, without torch: what a client machine or a shared server's users install.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        venv.create(folder / "venv", with_pip=True)
        scripts = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
        subprocess.run([scripts / "python", "-m", "pip", "install", "-q", ROOT], check=True)
        environ = {
            **os.environ,
            "JUPYTER_MISTRAL_HOME": str(folder / "home"),
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        }
        environ.pop("PYTHONPATH", None)
        command = [scripts / "jupyter", "mistral"]
        run([*command, "--version"], environ, 0)
        run([*command, "models"], environ, 0)
        report = json.loads(run([*command, "doctor", "--json"], environ, 1))
        states = {check["name"]: check["state"] for check in report["checks"]}
        # no torch here, so the engine is missing and says so; everything else of the installation is in order
        assert states["engine"] == "blocked", report
        assert states["python"] == states["server"] == states["panel"] == "ok", report
        magics = "from IPython.core.interactiveshell import InteractiveShell as S; S.instance().run_line_magic('load_ext', 'jupyter_mistral')"
        run([scripts / "python", "-c", magics], environ, 0)
        extensions = run([scripts / "jupyter", "server", "extension", "list"], environ, 0)
        assert "jupyter_mistral" in extensions, extensions
    print(f"Installed and ran on Python {sys.version.split()[0]}.")
    return 0


def run(command: list[str | Path], environ: dict[str, str], expected: int) -> str:
    done = subprocess.run(
        command, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300
    )
    assert done.returncode == expected, f"{command} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
