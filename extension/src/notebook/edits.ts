/** Changes to a notebook: each can be undone, and none runs code unasked. Throws a `Failure` for a read-only notebook. */
import { NotebookActions, NotebookPanel } from '@jupyterlab/notebook';
import { indexOf } from './notebook';
import { mark, metadataOf, originOf } from './origin';
import { Failure } from '../api/protocol';
import { trans } from '../translation';

function writable(panel: NotebookPanel | null): NotebookPanel {
  if (!panel?.content.model) {
    throw new Failure(
      'no_notebook',
      trans.__('No notebook is open.'),
      trans.__('Open a notebook and try again.')
    );
  }
  if (
    panel.content.model.readOnly ||
    panel.context.contentsModel?.writable === false
  ) {
    throw new Failure(
      'read_only',
      trans.__('This notebook is read-only.'),
      trans.__('Save a copy under another name first.')
    );
  }
  return panel;
}

/** Inserts generated code as a new cell and selects it. `place` is relative to the active cell. */
export function insertCell(
  panel: NotebookPanel | null,
  source: string,
  place: 'above' | 'below',
  model: string
): void {
  const notebook = writable(panel).content;
  const at = Math.max(notebook.activeCellIndex, -1);
  const index = place === 'above' ? Math.max(at, 0) : at + 1;
  notebook.model!.sharedModel.insertCell(index, {
    cell_type: 'code',
    source,
    metadata: metadataOf(originOf(model, 'generated'))
  });
  notebook.activeCellIndex = index;
  notebook.deselectAll();
  void notebook.scrollToItem(index);
}

/** Replaces the source of a cell with generated code; Ctrl+Z in the cell undoes it. */
export function replaceCell(
  panel: NotebookPanel | null,
  id: string,
  source: string,
  model: string
): void {
  const notebook = writable(panel).content;
  const index = indexOf(panel!, id);
  if (index < 0) {
    throw new Failure(
      'no_cell',
      trans.__('The cell was deleted.'),
      trans.__('Insert the code as a new cell instead.')
    );
  }
  const cell = notebook.model!.cells.get(index);
  if (cell.getMetadata('editable') === false) {
    throw new Failure(
      'read_only',
      trans.__('The cell is not editable.'),
      trans.__('Insert the code as a new cell instead.')
    );
  }
  cell.sharedModel.setSource(source);
  mark(cell, originOf(model, 'changed'));
  notebook.activeCellIndex = index;
  void notebook.scrollToItem(index);
}

/** Inserts the code below and runs it, on the user's click. */
export async function runInNewCell(
  panel: NotebookPanel | null,
  source: string,
  model: string
): Promise<void> {
  const { session } = writable(panel).sessionContext;
  const status = session?.kernel?.status ?? 'dead';
  if (['dead', 'terminating', 'unknown'].includes(status)) {
    throw new Failure(
      'no_kernel',
      trans.__('This notebook has no running kernel.'),
      trans.__('Start a kernel, or insert the code and run it later.')
    );
  }
  insertCell(panel, source, 'below', model);
  await NotebookActions.run(panel!.content, panel!.sessionContext);
}

/** Scrolls to `[cell index]` and highlights it briefly. */
export async function showCell(
  panel: NotebookPanel | null,
  index: number
): Promise<void> {
  const notebook = panel?.content;
  if (!notebook || index < 0 || index >= notebook.widgets.length) {
    throw new Failure(
      'no_cell',
      trans.__('The open notebook has no cell %1.', index),
      trans.__('It may have been deleted.')
    );
  }
  notebook.activeCellIndex = index;
  await notebook.scrollToItem(index, 'smart');
  const node = notebook.widgets[index].node;
  node.classList.remove('jp-MistralFlash');
  // restarts the animation: a style must be computed without the class first
  void node.offsetWidth;
  node.classList.add('jp-MistralFlash');
  window.setTimeout(() => node.classList.remove('jp-MistralFlash'), 1600);
}
