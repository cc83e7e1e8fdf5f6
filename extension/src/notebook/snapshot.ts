/** The notebook as it is sent: shortened, cached until it changes, and read in steps so that typing never waits. */
import { ICellModel, isCodeCellModel } from '@jupyterlab/cells';
import * as nbformat from '@jupyterlab/nbformat';
import { NotebookPanel } from '@jupyterlab/notebook';
import { cutMiddle, joinLines, outputsOf, PLOT_TYPE } from './notebook';
import { INotebookSnapshot } from '../api/protocol';

/** The longest text that is sent; the server shortens further, to the model's token budget. */
const MAX_TEXT = 16_000;
const MAX_SOURCE = 100_000;
const MAX_HTML = 64_000;
/** The longest that a key press has to wait. */
const STEP_MS = 8;
/** Limit on all outputs together, in characters: more than any model's context, and small enough to send while typing. */
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
  /** Characters in its outputs. */
  size: number;
}

const cache = new WeakMap<ICellModel, ILightCell>();
const watched = new WeakSet<ICellModel>();

/** Returns a shortened cell, cached until it changes, so that 10,000 cells are not read on every key press. */
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
  let size = 0;
  if (isCodeCellModel(model)) {
    json.execution_count = model.executionCount;
    const outputs = outputsOf(model).map(lightOutput);
    json.outputs = outputs;
    size = outputs.length ? JSON.stringify(outputs).length : 0;
  }
  const light = { json, size };
  cache.set(model, light);
  return light;
}

/** Returns the notebook as it is in the editor. If its outputs are too large, the last ones are kept. */
export function snapshot(panel: NotebookPanel): INotebookSnapshot {
  const cells = panel.content.model?.cells;
  const light: unknown[] = [];
  let room = MAX_OUTPUTS;
  for (let i = (cells?.length ?? 0) - 1; i >= 0; i--) {
    const { json, size } = lightCell(cells!.get(i));
    room -= size;
    light.push(room >= 0 || !size ? json : { ...json, outputs: [] });
  }
  return {
    cells: light.reverse(),
    language: panel.content.model?.defaultKernelLanguage || 'python',
    path: panel.context.path
  };
}

/** Fills the cache in short steps, so that the first snapshot of a large notebook does not block the page. */
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
