"""`jupyter mistral demo`: run the first example notebook with the real model, server and kernel, then open JupyterLab on it."""

from __future__ import annotations

import argparse
import os
import shutil
import time
import webbrowser
from pathlib import Path

from .. import child
from ..notebook_runner import JupyterServer, NotebookRunner, serving
from ..protocol.failures import Failure

FIRST = "01_first_cell.ipynb"


def examples() -> Path:
    """The folder of example notebooks: inside an installed package, beside the package in a checkout."""
    here = Path(__file__).parents[1]
    for folder in (here / "examples", here.parent.parent / "examples"):
        if (folder / FIRST).is_file():
            return folder
    raise Failure("not_found", "The example notebooks are missing.", "Reinstall jupyter-mistral.")


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "jupyter mistral demo", description="Run the first example with the default model."
    )
    parser.add_argument("--no-lab", action="store_true", help="stop after the example has run")
    parser.add_argument(
        "--folder", type=Path, default=Path("mistral-demo"), help="where the notebooks go (default: %(default)s)"
    )
    parser.add_argument("--sovereign", action="store_true", help="let JupyterLab's pages load nothing from other sites")
    return parser


def main(argv: list[str]) -> int:
    """Pull the default model if it is missing, run the first example, then open JupyterLab on it. Raises `Failure`."""
    args = make_parser().parse_args(argv)
    if not args.no_lab and not _has_lab():
        raise Failure(
            "not_found", "JupyterLab is not installed.", "pip install 'jupyter-mistral[lab]', or add --no-lab."
        )
    _pull()
    folder = args.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for source in examples().glob("*.ipynb"):
        shutil.copyfile(source, folder / source.name)
    flags = ["--MistralExtension.sovereign=True"] if args.sovereign else []
    with serving(folder, lab=not args.no_lab, log=folder / "server.log", flags=flags) as server:
        print(f"Jupyter server at {server.url}; running {FIRST}", flush=True)
        executed = execute(server, FIRST)
        print(f"\nExecuted notebook: {folder / executed}")
        if not args.no_lab:
            _wait_for_ctrl_c(server)
    return 0


def execute(server: JupyterServer, path: str) -> str:
    """Run the notebook at `path` of the server's folder and save it there with its outputs, a failed run too."""
    import nbformat

    model = server.request(f"/api/contents/{path}?content=1")
    notebook = nbformat.from_dict(model["content"])
    with server.kernel(path) as kernel:
        try:
            NotebookRunner(notebook, kernel, _show).run()
        finally:
            server.request(f"/api/contents/{path}", {"type": "notebook", "format": "json", "content": notebook}, "PUT")
    return path


def _show(text: str) -> None:
    print(text, end="", flush=True)


def _has_lab() -> bool:
    from importlib.util import find_spec

    return find_spec("jupyterlab") is not None


def _pull() -> None:
    # in a process of its own, to show the same progress bar as `jupyter mistral pull`
    if child.run(child.python("jupyter_mistral.cli", "pull"), env=child.full_environment(os.environ)):
        raise Failure("download_failed", "The default model could not be prepared.", "The lines above say why.")


def _wait_for_ctrl_c(server: JupyterServer) -> None:
    url = f"{server.url}/lab/tree/{FIRST}?token={server.token}"
    print(f"JupyterLab is open at\n\n    {url}\n\nPress Ctrl-C to stop it.", flush=True)
    webbrowser.open(url)
    try:
        while True:
            server.request("/api")
            time.sleep(2)
    except (KeyboardInterrupt, OSError):
        print("\nStopping JupyterLab.")
