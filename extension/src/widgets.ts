/** Enter sends in the chat widget of `%mistral chat`; an ipywidgets text area alone would insert a new line. */

const AREA = '.jmi-chat textarea';

/** Makes Enter send and Shift+Enter insert a new line; `hint` is the tooltip that says so. */
export function sendByEnter(hint: string): void {
  // in the capture phase, before the notebook handles Enter
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
    // the change event sends the text to the kernel, so it must precede the click
    area.dispatchEvent(new Event('change', { bubbles: true }));
    send.click();
  }
}
