/** A notebook as it is sent: light, kept until it changes, read in steps so that typing never waits. */
import { ICellModel, isCodeCellModel } from '@jupyterlab/cells';
import * as nbformat from '@jupyterlab/nbformat';
import { NotebookPanel } from '@jupyterlab/notebook';
import { cutMiddle, joinLines, outputsOf, PLOT_TYPE } from './notebook';
import { INotebookSnapshot } from '../protocol';

/** What of one text is sent at most; the server shortens further, to the model's budget. */
const MAX_TEXT = 16_000;
const MAX_SOURCE = 100_000;
const MAX_HTML = 64_000;
/** A key that is pressed meanwhile waits no longer than this. */
const STEP_MS = 8;
/** All outputs together, in characters: several times what any model holds, and little enough to be sent while typing. */
const MAX_OUTPUTS = 4 * 2 ** 20;

const TEXT_TYPES = [
  'text/plain',
  'text/markdown',
  'text/latex',
  'application/json'
];

function lightData(data: nbformat.IMimeBundle): Record<string, unknown> {
  const light: Record<string, unknown> = {};
  for (const [mime, value] of Object.entries(data)) {
    if (mime.startsWith('image/')) {
      // four characters of base64 are three bytes
      light[mime] = Math.floor((joinLines(value).length * 3) / 4);
    } else if (mime === 'text/html') {
      light[mime] = cutMiddle(joinLines(value), MAX_HTML);
    } else if (PLOT_TYPE.test(mime)) {
      const text = JSON.stringify(value);
      light[mime] = text.length <= MAX_HTML ? value : {};
    } else if (TEXT_TYPES.includes(mime)) {
      const text =
        typeof value === 'object' && !Array.isArray(value)
          ? JSON.stringify(value)
          : joinLines(value);
      light[mime] = cutMiddle(text, MAX_TEXT);
    } else {
      light[mime] = '';
    }
  }
  return light;
}

function lightOutput(output: nbformat.IOutput): Record<string, unknown> {
  if (nbformat.isStream(output)) {
    return { ...output, text: cutMiddle(joinLines(output.text), MAX_TEXT) };
  }
  if (nbformat.isError(output)) {
    const traceback = cutMiddle(output.traceback.join('\n'), MAX_TEXT);
    return { ...output, traceback: traceback.split('\n') };
  }
  if (nbformat.isDisplayData(output) || nbformat.isExecuteResult(output)) {
    return { ...output, metadata: {}, data: lightData(output.data) };
  }
  return { output_type: output.output_type };
}

interface ILightCell {
  json: Record<string, unknown>;
  /** Characters of its outputs. */
  weight: number;
}

const cache = new WeakMap<ICellModel, ILightCell>();
const watched = new WeakSet<ICellModel>();

/** A cell without its weight, kept until the cell changes: a notebook of 10,000 cells is not read at each key. */
function lightCell(model: ICellModel): ILightCell {
  const known = cache.get(model);
  if (known) {
    return known;
  }
  if (!watched.has(model)) {
    watched.add(model);
    const forget = (): void => {
      cache.delete(model);
    };
    model.contentChanged.connect(forget);
    model.stateChanged.connect(forget);
    if (isCodeCellModel(model)) {
      model.outputs.changed.connect(forget);
    }
  }
  const json: Record<string, unknown> = {
    id: model.id,
    cell_type: model.type,
    metadata: {},
    source: cutMiddle(model.sharedModel.getSource(), MAX_SOURCE)
  };
  let weight = 0;
  if (isCodeCellModel(model)) {
    json.execution_count = model.executionCount;
    const outputs = outputsOf(model).map(lightOutput);
    json.outputs = outputs;
    weight = outputs.length ? JSON.stringify(outputs).length : 0;
  }
  const light = { json, weight };
  cache.set(model, light);
  return light;
}

/** The whole notebook as it stands in the editor, without what no prompt can hold: the newest outputs stay. */
export function snapshot(panel: NotebookPanel): INotebookSnapshot {
  const cells = panel.content.model?.cells;
  const found: unknown[] = [];
  let room = MAX_OUTPUTS;
  for (let i = (cells?.length ?? 0) - 1; i >= 0; i--) {
    const { json, weight } = lightCell(cells!.get(i));
    room -= weight;
    found.push(room >= 0 || !weight ? json : { ...json, outputs: [] });
  }
  return {
    cells: found.reverse(),
    language: panel.content.model?.defaultKernelLanguage || 'python',
    path: panel.context.path
  };
}

/** Read cells ahead in short steps, so that a large notebook's first snapshot does not hold the page. */
export async function readAhead(
  panel: NotebookPanel,
  signal: AbortSignal
): Promise<void> {
  const cells = panel.content.model?.cells;
  let until = performance.now() + STEP_MS;
  for (let i = (cells?.length ?? 0) - 1; i >= 0; i--) {
    if (signal.aborted || panel.isDisposed) {
      return;
    }
    if (i < cells!.length) {
      lightCell(cells!.get(i));
    }
    if (performance.now() > until) {
      await new Promise(resolve => setTimeout(resolve));
      until = performance.now() + STEP_MS;
    }
  }
}
