"""The browser's tabs: one that tests share as long as it looks like a new one after each, and others for one test alone.

Between two tests the shared tab is cleaned up as a tidy user would; if anything is left over then (a note, a chip, a dialog), the
next test gets a new tab. A test whose traces no look at the page can find takes the mark `own_page`: one that reloads, changes
settings, runs something before the page or in its place, or opens a second tab.
"""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Browser, BrowserContext, Page

from .labs import TOKEN, Lab

PATIENCE_MS = 120_000  # a busy machine draws, starts kernels and moves files within this
KERNEL_IDLE = "() => window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
# The panel's first page has the server check the machine, which starts a worker each time: that page alone waits for it,
# tests that look at it say so. A wrapped `fetch`, since a browser that is asked to route requests keeps no cache.
NO_CHECKS = """
const beforeChecks = window.fetch;
window.fetch = (request, init) => {
  const url = typeof request === 'string' ? request : request.url;
  return url.includes('/mistral/api/doctor')
    ? Promise.resolve(new Response('{"ok": true, "checks": []}', { headers: { 'Content-Type': 'application/json' } }))
    : beforeChecks(request, init);
};
"""
# errors of JupyterLab, seen without this extension too: Notebook 7 as it starts; a notebook closed soon after its kernel started
JUPYTERS = ("reading 'schema'", "message before replies were done")
OPEN = """async path => {
  const { commands, shell } = window.jupyterapp;
  await commands.execute('docmanager:open', { path });
  for (const widget of shell.widgets('main')) {
    if (widget.id.startsWith('launcher')) {
      widget.dispose();
    }
  }
}"""
# Ends what goes on, closes what is open, and gives what is left over.
CLEAN = """async ranCells => {
  const { commands, serviceManager, shell } = window.jupyterapp;
  const all = selector => Array.from(document.querySelectorAll(selector));
  const press = selector => all(selector).forEach(node => node.click());
  const drawn = () => new Promise(resolve => requestAnimationFrame(() => setTimeout(resolve)));
  press('.jp-Dialog .jp-mod-reject');
  press('.jp-MistralSend.jp-mod-stop');
  press('.jp-MistralFailure button[aria-label=Dismiss]');
  press('.jp-MistralCard-head[aria-expanded=true]');
  press('.jp-MistralChip:is([data-kind=cells], [data-kind=file], [data-kind=image])');
  await commands.execute('jupyter-mistral:new-chat');
  const field = document.querySelector('.jp-MistralComposer textarea');
  if (field?.value) {
    Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, 'value').set.call(field, '');
    field.dispatchEvent(new Event('input', { bubbles: true }));
  }
  await drawn();
  const rest = ['.jp-Dialog', '.jp-MistralFailure', '.jp-MistralQuestion', '.jp-MistralAnswer', '.jp-MistralHistory',
    '.jp-MistralSend.jp-mod-stop', '.jp-MistralCard-head[aria-expanded=true]', '.lm-Menu', '.jp-MistralNote',
    '.jp-MistralChip:is([data-kind=cells], [data-kind=file], [data-kind=image])',
    '.jp-MistralChip:is([data-kind=notebook], [data-kind=cell])[aria-pressed=false]'
  ].filter(selector => all(selector).length);
  if (field?.value) {
    rest.push('a draft');
  }
  for (const widget of [...shell.widgets('main'), ...shell.widgets('down')]) {
    // one that is closed while it opens leaves errors behind
    const late = new Promise(done => setTimeout(done, 20000));
    await Promise.race([late, Promise.all([widget.context?.ready, widget.sessionContext?.ready])]);
    widget.dispose();
  }
  if (ranCells) {
    await serviceManager.sessions.shutdownAll();
  }
  shell.collapseRight();
  shell.activateById('filebrowser');
  sessionStorage.removeItem('jupyter-mistral:chat');
  sessionStorage.removeItem('jupyter-mistral:draft');
  await drawn();
  // JupyterLab itself fills an empty place with a launcher
  return [...rest, ...Array.from(shell.widgets('main'), widget => widget.id).filter(id => !id.startsWith('launcher'))];
}"""


class PageErrors(list[str]):
    """What went wrong in the page; none may have, unless a test brings about what fails there and says so."""

    are_expected = False

    def unexpected(self) -> list[str]:
        return [] if self.are_expected else [error for error in self if not any(own in error for own in JUPYTERS)]


class Tabs:
    """All tabs of a browser; they share its cache."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: dict[bool, BrowserContext] = {}
        self._shared: Page | None = None
        self._at = ""
        self._heard: Callable[[str], None] = lambda error: None

    def own(self, is_checking: bool) -> Page:
        """A new one. `is_checking`: its panel has the machine checked."""
        return self._context(is_checking).new_page()

    def shared(self, hear: Callable[[str], None]) -> Page:
        """The tab that tests share; its page errors go to `hear` from now on."""
        self._heard = hear
        if self._shared is None:
            self._shared, self._at = self.own(False), ""
            self._shared.on("pageerror", lambda error: self._heard(str(error)))
        return self._shared

    def open(self, lab: Lab, name: str) -> None:
        """Show a notebook in the shared one."""
        assert self._shared is not None
        if self._at != lab.url:
            lab.end_kernels()
            self._shared.goto(f"{lab.url}/lab?token={TOKEN}&reset")
            self._shared.locator(".jp-Launcher").wait_for()
            self._shared.evaluate(CLEAN, True)
            self._at = lab.url
        self._shared.evaluate(OPEN, name)

    def clean(self, ran_cells: bool) -> list[str]:
        """Clean up the shared one; if anything is left over, drop it. Gives what was left over."""
        assert self._shared is not None
        rest = self._shared.evaluate(CLEAN, ran_cells) if self._at else ["nothing open"]
        if rest:
            self.drop()
        return list(rest)

    def drop(self) -> None:
        if self._shared is not None:
            self._shared.close()
        self._shared = None

    def close(self) -> None:
        for context in self._contexts.values():
            context.close()

    def _context(self, is_checking: bool) -> BrowserContext:
        if is_checking not in self._contexts:
            made = self._browser.new_context(viewport={"width": 1400, "height": 900})
            made.grant_permissions(["clipboard-read", "clipboard-write"])
            made.set_default_timeout(PATIENCE_MS)
            if not is_checking:
                made.add_init_script(NO_CHECKS)
            self._contexts[is_checking] = made
        return self._contexts[is_checking]
