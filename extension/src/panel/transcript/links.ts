/** Links in answers: cells to scroll to, and addresses that open only after a look at the whole of them. */
import { Dialog, showDialog } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';

const CELL = /\[cells? (\d+)\]/gi;

/** Make `[cell 12]` in running text a button; code is left alone. */
export function linkCells(root: HTMLElement): void {
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const found: Text[] = [];
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    CELL.lastIndex = 0;
    if (
      CELL.test(node.nodeValue ?? '') &&
      !node.parentElement?.closest('pre, code, a, button')
    ) {
      found.push(node as Text);
    }
  }
  for (const node of found) {
    node.replaceWith(...cellParts(node.nodeValue ?? ''));
  }
}

function cellParts(text: string): (string | HTMLElement)[] {
  const parts: (string | HTMLElement)[] = [];
  let at = 0;
  for (const match of text.matchAll(CELL)) {
    parts.push(text.slice(at, match.index));
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'jp-MistralCellLink';
    button.dataset.cell = match[1];
    button.textContent = match[0].slice(1, -1);
    parts.push(button);
    at = match.index + match[0].length;
  }
  parts.push(text.slice(at));
  return parts;
}

/** Show the whole address and open it in a new tab that knows nothing of this page, if the user says so. */
export async function openLink(
  address: string,
  trans: TranslationBundle
): Promise<void> {
  if (!/^(https?:\/\/|mailto:)/i.test(address)) {
    return;
  }
  const { button } = await showDialog({
    title: trans.__('Open this address?'),
    body: address,
    buttons: [
      Dialog.cancelButton(),
      Dialog.okButton({ label: trans.__('Open') })
    ],
    defaultButton: 0
  });
  if (button.accept) {
    window.open(address, '_blank', 'noopener,noreferrer');
  }
}
