/** Where the code of a cell comes from, as its metadata tells: the model and the time, never what was asked. */
import { NotebookPanel } from '@jupyterlab/notebook';
import { JSONObject } from '@lumino/coreutils';

const KEY = 'mistral';

/** generated: the whole cell is the model's. changed: it was the user's before. */
export function originOf(
  model: string,
  origin: 'generated' | 'changed'
): JSONObject {
  return {
    v: 1,
    origin,
    model,
    time: new Date().toISOString().replace(/\.\d+Z$/, 'Z')
  };
}

export function metadataOf(origin: JSONObject): JSONObject {
  return { [KEY]: origin };
}

/** Anything that can carry the mark. */
export interface IMarked {
  setMetadata(key: string, value: JSONObject): void;
}

export function mark(cell: IMarked, origin: JSONObject): void {
  cell.setMetadata(KEY, origin);
}

/** Take the marks out of all cells of a notebook. */
export function unmarkAll(panel: NotebookPanel | null): void {
  for (const cell of panel?.content.model?.cells ?? []) {
    cell.deleteMetadata(KEY);
  }
}
