/** The origin of generated code, in the cell's metadata: the model and the time, never the question. */
import { NotebookPanel } from '@jupyterlab/notebook';
import { JSONObject } from '@lumino/coreutils';

const KEY = 'mistral';

/** `generated`: the model wrote the whole cell. `changed`: it changed the user's code. */
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

/** A cell model, as far as it is needed here. */
export interface IMarkable {
  setMetadata(key: string, value: JSONObject): void;
}

export function mark(cell: IMarkable, origin: JSONObject): void {
  cell.setMetadata(KEY, origin);
}

/** Removes the marks from all cells of a notebook. */
export function unmarkAll(panel: NotebookPanel | null): void {
  for (const cell of panel?.content.model?.cells ?? []) {
    cell.deleteMetadata(KEY);
  }
}
