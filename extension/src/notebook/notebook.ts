/** Reads notebooks: cells (from the model, since windowed cells have no widget), selection, last error, plots. */
import { CodeCell, ICellModel, isCodeCellModel } from '@jupyterlab/cells';
import * as nbformat from '@jupyterlab/nbformat';
import { NotebookPanel } from '@jupyterlab/notebook';
import { drawingUrl } from '../context/pictures';
import { PICTURE_TYPES, SVG } from '../api/protocol';

/** Outputs that contain a plot's specification, and so its data. */
export const PLOT_TYPE = /^application\/vnd\.(plotly|vega)/;

export interface ICellError {
  ename: string;
  evalue: string;
  traceback: string;
}

/** A cell; `index` counts from 0, as in the `[cell 12]` of prompts and answers. */
export interface ICellView {
  id: string;
  index: number;
  type: string;
  source: string;
  /** The execution count; null if the cell has not run. */
  run: number | null;
  error: ICellError | null;
  plots: IPlot[];
}

/** An image or plot among the outputs: the image as a data: URL, and the plot's specification by MIME type. */
export interface IPlot {
  picture: string | null;
  spec: Record<string, unknown> | null;
}

export function joinLines(value: unknown): string {
  return Array.isArray(value)
    ? value.join('')
    : typeof value === 'string'
      ? value
      : '';
}

/** Cuts the middle of a text that is longer than `most` characters. */
export function cutMiddle(text: string, most: number): string {
  if (text.length <= most) {
    return text;
  }
  const head = Math.ceil(most * 0.7);
  const tail = most - head;
  return `${text.slice(0, head)}\n… ${text.length - most} characters left out …\n${text.slice(-tail)}`;
}

// eslint-disable-next-line no-control-regex
const ANSI = /\u001b\[[0-9;]*[A-Za-z]/g;

export function stripAnsi(text: string): string {
  return text.replace(ANSI, '');
}

export function outputsOf(model: ICellModel): nbformat.IOutput[] {
  if (!isCodeCellModel(model)) {
    return [];
  }
  return Array.from({ length: model.outputs.length }, (_, i) =>
    model.outputs.get(i).toJSON()
  );
}

/** Whether our magics raised it: a message to the user, not an error in the cell's code. */
export function isMagicError(ename: string): boolean {
  return ['MistralError', 'Stopped', 'UsageError'].includes(ename);
}

/** Returns the last error of a cell. Checks output types first, because the outputs of a notebook can exceed 100 MB. */
export function errorOf(model: ICellModel): ICellError | null {
  const outputs = isCodeCellModel(model) ? model.outputs : null;
  for (let i = (outputs?.length ?? 0) - 1; i >= 0; i--) {
    if (outputs!.get(i).type !== 'error') {
      continue;
    }
    const output = outputs!.get(i).toJSON();
    if (nbformat.isError(output) && !isMagicError(output.ename)) {
      return {
        ename: output.ename,
        evalue: output.evalue,
        traceback: stripAnsi(output.traceback.join('\n'))
      };
    }
  }
  return null;
}

/** Returns an output's image, SVG included, as a data: URL. */
function pictureOf(output: nbformat.IOutput): string | null {
  if (!nbformat.isDisplayData(output) && !nbformat.isExecuteResult(output)) {
    return null;
  }
  const mime = PICTURE_TYPES.find(m => m in output.data);
  if (!mime) {
    return null;
  }
  const data = joinLines(output.data[mime]);
  return mime === SVG
    ? drawingUrl(data)
    : `data:${mime};base64,${data.replace(/\s/g, '')}`;
}

function plotOf(output: nbformat.IOutput): IPlot | null {
  const picture = pictureOf(output);
  if (!nbformat.isDisplayData(output) && !nbformat.isExecuteResult(output)) {
    return null;
  }
  const specs = Object.entries(output.data).filter(([m]) => PLOT_TYPE.test(m));
  return picture || specs.length
    ? { picture, spec: specs.length ? Object.fromEntries(specs) : null }
    : null;
}

export function cellAt(panel: NotebookPanel, index: number): ICellView | null {
  const cells = panel.content.model?.cells;
  if (!cells || index < 0 || index >= cells.length) {
    return null; // the active index is -1 while a notebook loads
  }
  const model = cells.get(index);
  return {
    id: model.id,
    index,
    type: model.type,
    source: model.sharedModel.getSource(),
    run: isCodeCellModel(model) ? model.executionCount : null,
    error: errorOf(model),
    plots: outputsOf(model)
      .map(plotOf)
      .filter((plot): plot is IPlot => plot !== null)
  };
}

export function activeCell(panel: NotebookPanel | null): ICellView | null {
  return panel ? cellAt(panel, panel.content.activeCellIndex) : null;
}

/** Returns the index of a cell, or -1 if it was deleted. */
export function indexOf(panel: NotebookPanel, id: string): number {
  const cells = panel.content.model?.cells;
  for (let i = 0; i < (cells?.length ?? 0); i++) {
    if (cells!.get(i).id === id) {
      return i;
    }
  }
  return -1;
}

/** Returns the failed cell that ran last. */
export function lastError(panel: NotebookPanel | null): ICellView | null {
  const cells = panel?.content.model?.cells;
  let index = -1;
  let latest = -1;
  for (let i = 0; i < (cells?.length ?? 0); i++) {
    const model = cells!.get(i);
    const run = isCodeCellModel(model) ? (model.executionCount ?? 0) : -1;
    if (run >= latest && errorOf(model)) {
      [index, latest] = [i, run];
    }
  }
  return panel && index >= 0 ? cellAt(panel, index) : null;
}

export function selectedText(panel: NotebookPanel | null): string {
  const editor = panel?.content.activeCell?.editor;
  if (!editor) {
    return '';
  }
  const { start, end } = editor.getSelection();
  const [from, to] = [editor.getOffsetAt(start), editor.getOffsetAt(end)].sort(
    (a, b) => a - b
  );
  return editor.model.sharedModel.getSource().slice(from, to);
}

/** Returns the plot in one output of a cell; null if the output is not a plot. */
export function plotAt(
  panel: NotebookPanel,
  index: number,
  output: number
): IPlot | null {
  const model = panel.content.model?.cells.get(index);
  const json = model ? outputsOf(model)[output] : undefined;
  return json ? plotOf(json) : null;
}

/** Returns the cell whose outputs contain `node`, and the index of that output. */
export function outputAt(
  panel: NotebookPanel,
  node: Node
): { cell: ICellView; output: number } | null {
  const index = panel.content.widgets.findIndex(cell =>
    cell.node.contains(node)
  );
  const widget = panel.content.widgets[index];
  const cell = cellAt(panel, index);
  if (!cell || !(widget instanceof CodeCell)) {
    return null;
  }
  // each child widget is one output, in order
  const at = widget.outputArea.widgets.findIndex(w => w.node.contains(node));
  return { cell, output: at };
}
