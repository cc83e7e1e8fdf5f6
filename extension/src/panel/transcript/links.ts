/** Links in answers: to cells, and to addresses that open only after a dialog has shown them. */
import { Dialog, showDialog } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';

const CELL = /\[cells? (\d+)\]/gi;

/** Turns `[cell 12]` in text, but not in code, into a button. */
export function linkCells(root: HTMLElement): void {
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const nodes: Text[] = [];
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    CELL.lastIndex = 0;
    if (
      CELL.test(node.nodeValue ?? '') &&
      !node.parentElement?.closest('pre, code, a, button')
    ) {
      nodes.push(node as Text);
    }
  }
  for (const node of nodes) {
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

/** Shows the address and, if the user agrees, opens it in a new tab without access to this page. */
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
