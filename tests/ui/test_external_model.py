"""The panel with an external engine: the card says where text is sent, and answers look the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from clockwork import ANSWER
from playwright.sync_api import Page, expect

from .labs import Lab, start
from .user import ANSWER_MS, Ui

SMALL = "smollm2-135m"


@pytest.fixture
def lab_over_a_shared_host(models: Path, clock: Path, tmp_path: Path) -> Iterator[tuple[Lab, str]]:
    """JupyterLab with `engine_url` set by its admin, and HOST:PORT of the model host that it uses."""
    shared = tmp_path / "shared"
    (shared / "models" / SMALL).mkdir(mode=0o700, parents=True)
    (shared / "models" / SMALL / "nf4").symlink_to(clock)  # lies there by that name
    environ = {**os.environ, "JUPYTER_RUNTIME_DIR": str(shared), "JUPYTER_MISTRAL_HOME": str(shared)}
    command = [sys.executable, "-m", "jupyter_mistral.server.standalone", "--port", "0", "--model", SMALL]
    host = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert host.stdout is not None
        url = host.stdout.readline().strip()
        key = tmp_path / "key"
        key.write_text(host.stdout.readline().removeprefix("token: ").strip())
        key.chmod(0o600)
        settings = [f"--MistralExtension.engine_url={url}", f"--MistralExtension.engine_model={SMALL}"]
        settings.append(f"--MistralExtension.engine_key_file={key}")
        (tmp_path / "lab").mkdir()
        lab = start("jupyterlab", tmp_path / "lab", models, *settings)
        try:
            yield lab, url.split("/")[2]
        finally:
            lab.stop()
    finally:
        host.send_signal(signal.SIGTERM)
        host.wait(60)


@pytest.mark.own_page
def test_the_card_says_where_text_is_sent(lab_over_a_shared_host: tuple[Lab, str], page: Page) -> None:
    lab, host = lab_over_a_shared_host
    ui = Ui(page, lab)
    ui.open(["x = 1"])
    ui.show_panel()
    badge = page.locator(".jp-MistralCard .jp-mod-outside")
    expect(badge).to_have_text(f"this machine, another program: {host}", timeout=ANSWER_MS)
    expect(page.locator(".jp-MistralCard .jp-mod-seal")).to_have_count(0)
    # the start page makes no false promise
    expect(page.locator(".jp-MistralReadiness")).to_contain_text(
        f"Answers come from another program (this machine, another program: {host})"
    )
    expect(page.locator(".jp-MistralReadiness")).not_to_contain_text("Nothing you write leaves it")
    ui.ask("Say yes.")
    ui.wait_answer()
    expect(page.locator(".jp-MistralAnswer")).to_contain_text(ANSWER)
    page.locator(".jp-MistralCard-head").click()
    card = page.locator(".jp-MistralCard")
    expect(card).to_contain_text("tokens/s")
    # an external model cannot be unloaded
    expect(card.get_by_role("button", name="Unload")).to_have_count(0)
    assert lab.ask("/mistral/api/status")["engine"]["program"] == "Jupyter Mistral"
