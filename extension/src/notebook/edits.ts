/** Changes to a notebook, each undoable, none run by itself. A notebook that may not be changed gives a `Failure`. */
import { NotebookActions, NotebookPanel } from '@jupyterlab/notebook';
import { indexOf } from './notebook';
import { mark, metadataOf, originOf } from './origin';
import { Failure } from '../protocol';
import { trans } from '../translation';

function writable(panel: NotebookPanel | null): NotebookPanel {
  if (!panel?.content.model) {
    throw new Failure(
      'no_notebook',
      trans.__('No notebook is open.'),
      trans.__('Open one and try again.')
    );
  }
  if (
    panel.content.model.readOnly ||
    panel.context.contentsModel?.writable === false
  ) {
    throw new Failure(
      'read_only',
      trans.__('This notebook is read-only.'),
      trans.__('Save it under another name first.')
    );
  }
  return panel;
}

/** Insert a cell of the model's and make it the active one. `place` is relative to the active cell. */
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

/** Set the source of the cell `id`, written `by` a model; undone by Ctrl+Z in that cell. */
export function replaceCell(
  panel: NotebookPanel | null,
  id: string,
  source: string,
  by: string
): void {
  const notebook = writable(panel).content;
  const index = indexOf(panel!, id);
  if (index < 0) {
    throw new Failure(
      'no_cell',
      trans.__('That cell is gone.'),
      trans.__('Insert the code as a new cell instead.')
    );
  }
  const model = notebook.model!.cells.get(index);
  if (model.getMetadata('editable') === false) {
    throw new Failure(
      'read_only',
      trans.__('That cell is locked.'),
      trans.__('Insert the code as a new cell instead.')
    );
  }
  model.sharedModel.setSource(source);
  mark(model, originOf(by, 'changed'));
  notebook.activeCellIndex = index;
  void notebook.scrollToItem(index);
}

/** Insert below and run it, as a click asked. */
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
      trans.__(
        'Start one in the Kernel menu, or insert the code and run it later.'
      )
    );
  }
  insertCell(panel, source, 'below', model);
  await NotebookActions.run(panel!.content, panel!.sessionContext);
}

/** Scroll to `[cell index]` and let it flash. */
export async function showCell(
  panel: NotebookPanel | null,
  index: number
): Promise<void> {
  const notebook = panel?.content;
  if (!notebook || index < 0 || index >= notebook.widgets.length) {
    throw new Failure(
      'no_cell',
      trans.__('There is no cell %1 in the open notebook.', index),
      trans.__('It may have been deleted since.')
    );
  }
  notebook.activeCellIndex = index;
  await notebook.scrollToItem(index, 'smart');
  const node = notebook.widgets[index].node;
  node.classList.remove('jp-MistralFlash');
  // a new animation starts only after a style was computed without the class
  void node.offsetWidth;
  node.classList.add('jp-MistralFlash');
  window.setTimeout(() => node.classList.remove('jp-MistralFlash'), 1600);
}
