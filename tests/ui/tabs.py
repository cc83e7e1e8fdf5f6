"""The browser's tabs: one that most tests share, and tabs for a single test.

The shared tab is reset after each test. If anything is left over (a note, a chip, a dialog), the next test gets a new tab.
A test with side effects that the reset cannot detect has the mark `own_page`: it reloads the page, changes settings, injects
scripts or opens a second tab.
"""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Browser, BrowserContext, Page

from .labs import TOKEN, Lab

PATIENCE_MS = 120_000  # long enough for a busy machine to render, start kernels and move files
KERNEL_IDLE = "() => window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
# The start page runs the server's checks. Only tests of that page wait for them; the others get an empty result.
# This wraps `fetch`, because routing requests through Playwright disables the browser's cache.
NO_CHECKS = """
const beforeChecks = window.fetch;
window.fetch = (request, init) => {
  const url = typeof request === 'string' ? request : request.url;
  return url.includes('/mistral/api/doctor')
    ? Promise.resolve(new Response('{"ok": true, "checks": []}', { headers: { 'Content-Type': 'application/json' } }))
    : beforeChecks(request, init);
};
"""
# JupyterLab's own errors, also without this extension: when Notebook 7 starts, and when a notebook is closed soon after its kernel started
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
# Stops everything that is running, closes everything that is open, and returns what is left over.
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
    """Errors in the page. Any error fails the test, unless the test provokes it and says so."""

    are_expected = False

    def unexpected(self) -> list[str]:
        return [] if self.are_expected else [error for error in self if not any(own in error for own in JUPYTERS)]


class Tabs:
    """The tabs of one browser, with a common cache."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: dict[bool, BrowserContext] = {}
        self._shared: Page | None = None
        self._at = ""
        self._heard: Callable[[str], None] = lambda error: None

    def own(self, is_checking: bool) -> Page:
        """Open a new tab. `is_checking`: its panel runs the server's checks."""
        return self._context(is_checking).new_page()

    def shared(self, hear: Callable[[str], None]) -> Page:
        """Return the tab that tests share; `hear` receives its page errors from now on."""
        self._heard = hear
        if self._shared is None:
            self._shared, self._at = self.own(False), ""
            self._shared.on("pageerror", lambda error: self._heard(str(error)))
        return self._shared

    def open(self, lab: Lab, name: str) -> None:
        """Open a notebook in the shared tab."""
        assert self._shared is not None
        if self._at != lab.url:
            lab.end_kernels()
            self._shared.goto(f"{lab.url}/lab?token={TOKEN}&reset")
            self._shared.locator(".jp-Launcher").wait_for()
            self._shared.evaluate(CLEAN, True)
            self._at = lab.url
        self._shared.evaluate(OPEN, name)

    def clean(self, ran_cells: bool) -> list[str]:
        """Reset the shared tab and drop it if anything is left over. Returns what was left over."""
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
