import { CodeCellModel } from '@jupyterlab/cells';
import { NotebookModel, NotebookPanel } from '@jupyterlab/notebook';
import {
  activeCell,
  cutMiddle,
  errorOf,
  indexOf,
  lastError
} from '../notebook/notebook';
import { snapshot } from '../notebook/snapshot';
import { asList, asRecord } from '../api/protocol';
import { valueOf } from '../notebook/kernel';

/** A notebook model in the part of a panel that is read. */
function panelOf(cells: object[], active = 0): NotebookPanel {
  const model = new NotebookModel();
  model.fromJSON({
    cells,
    metadata: {},
    nbformat: 4,
    nbformat_minor: 5
  } as never);
  return {
    content: { model, activeCellIndex: active, activeCell: null },
    context: { path: 'folder/a.ipynb' }
  } as unknown as NotebookPanel;
}

const code = (
  id: string,
  source: string,
  outputs: object[] = [],
  run = 1
): object => ({
  id,
  cell_type: 'code',
  source,
  metadata: {},
  outputs,
  execution_count: run
});
const failed = (name: string): object => ({
  output_type: 'error',
  ename: name,
  evalue: 'v',
  traceback: ['\u001b[31mred\u001b[0m']
});

describe('snapshot', () => {
  it('sends sizes instead of images, and no unknown data', () => {
    const panel = panelOf([
      code('a', 'plot()', [
        {
          output_type: 'display_data',
          metadata: { width: 3 },
          data: {
            'image/png': 'AAAAAAAA',
            'text/plain': '<Figure>',
            'application/vnd.jupyter.widget-view+json': { model_id: 'x' },
            'application/vnd.plotly.v1+json': { data: [1] }
          }
        }
      ])
    ]);
    const [cell] = snapshot(panel).cells;
    const output = asRecord(asList(asRecord(cell).outputs)[0]);
    expect(output.data).toEqual({
      'image/png': 6,
      'text/plain': '<Figure>',
      'application/vnd.jupyter.widget-view+json': '',
      'application/vnd.plotly.v1+json': { data: [1] }
    });
  });

  it('cuts the middle of a long output and marks the cut', () => {
    const panel = panelOf([
      code('a', 'x', [
        { output_type: 'stream', name: 'stdout', text: 'a'.repeat(50_000) }
      ])
    ]);
    const text = String(
      asRecord(asList(asRecord(snapshot(panel).cells[0]).outputs)[0]).text
    );
    expect(text.length).toBeLessThan(17_000);
    expect(text).toContain('34000 characters left out');
  });

  it('stays below the size limit of a request', () => {
    const big = {
      output_type: 'stream',
      name: 'stdout',
      text: 'b'.repeat(16_000)
    };
    const cells = Array.from({ length: 3000 }, (_, i) =>
      code(`c${i}`, 'x', [big])
    );
    const taken = snapshot(panelOf(cells));
    expect(taken.cells.length).toBe(3000);
    expect(JSON.stringify(taken).length).toBeLessThan(16 * 2 ** 20);
  });

  it('includes changes since the last snapshot', () => {
    const panel = panelOf([code('a', 'x = 1')]);
    expect(asRecord(snapshot(panel).cells[0]).source).toBe('x = 1');
    const model = panel.content.model!.cells.get(0) as CodeCellModel;
    model.sharedModel.setSource('x = 2');
    model.outputs.add({ output_type: 'stream', name: 'stdout', text: 'hi' });
    const cell = asRecord(snapshot(panel).cells[0]);
    expect(cell.source).toBe('x = 2');
    expect(asList(cell.outputs).length).toBe(1);
    model.executionCount = 7;
    expect(asRecord(snapshot(panel).cells[0]).execution_count).toBe(7);
  });
});

it('returns the error of the failed cell that ran last', () => {
  const panel = panelOf([
    code('a', 'x', [failed('Late')], 9),
    code('b', 'y', [failed('Early')], 2),
    code('c', 'z', [], 10)
  ]);
  expect(lastError(panel)).toMatchObject({
    id: 'a',
    index: 0,
    error: { ename: 'Late', traceback: 'red' }
  });
  expect(lastError(panelOf([code('a', 'x')]))).toBeNull();
  expect(lastError(null)).toBeNull();
  expect(errorOf(panel.content.model!.cells.get(2))).toBeNull();
});

it('has no active cell while a notebook loads', () => {
  expect(activeCell(panelOf([code('a', 'x')], -1))).toBeNull();
  expect(activeCell(panelOf([code('a', 'x')], 0))?.source).toBe('x');
  expect(indexOf(panelOf([code('a', 'x'), code('b', 'y')]), 'b')).toBe(1);
});

it('leaves short texts uncut', () => {
  expect(cutMiddle('abc', 3)).toBe('abc');
  expect(cutMiddle('abcdefghij', 5)).toBe('abcd\n… 5 characters left out …\nj');
});

it('reads a value from the repr of a Python string', () => {
  const reply = (text: string): never =>
    ({
      content: {
        user_expressions: { value: { data: { 'text/plain': text } } }
      }
    }) as never;
  const json = JSON.stringify([
    { name: 'a', type: 'str', summary: "it's \\n" }
  ]);
  const repr = `'${json.replace(/\\/g, '\\\\').replace(/'/g, "\\'")}'`;
  expect(valueOf(reply(repr))).toEqual([
    { name: 'a', type: 'str', summary: "it's \\n" }
  ]);
  expect(valueOf(reply('NameError'))).toBeNull();
  expect(valueOf(reply("'not json'"))).toBeNull();
});
