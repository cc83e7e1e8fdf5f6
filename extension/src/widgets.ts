/** Enter in the chat that `%mistral chat` shows in a cell: ipywidgets' text area alone only begins a new line. */

const AREA = '.jmi-chat textarea';

/** From now on Enter sends what was typed there, Shift+Enter begins a line; `hint` says so to whoever points at it. */
export function sendByEnter(hint: string): void {
  // in the capture phase: a notebook takes Enter for itself
  document.addEventListener('keydown', onKeyDown, { capture: true });
  document.addEventListener('focusin', event => {
    const area = areaOf(event);
    if (area) {
      area.title = hint;
    }
  });
}

function areaOf(event: Event): HTMLTextAreaElement | null {
  const { target } = event;
  return target instanceof HTMLTextAreaElement && target.matches(AREA)
    ? target
    : null;
}

function onKeyDown(event: KeyboardEvent): void {
  const area = areaOf(event);
  if (!area || event.key !== 'Enter' || event.isComposing) {
    return;
  }
  event.stopPropagation();
  if (event.shiftKey) {
    return;
  }
  event.preventDefault();
  const send = area
    .closest('.jmi-chat')
    ?.querySelector<HTMLButtonElement>('button.jmi-send');
  if (send && !send.disabled && area.value.trim()) {
    // the text reaches the kernel with the change, hence before the click
    area.dispatchEvent(new Event('change', { bubbles: true }));
    send.click();
  }
}
