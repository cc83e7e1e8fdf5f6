import { OutputArea, OutputAreaModel } from '@jupyterlab/outputarea';
import {
  RenderMimeRegistry,
  standardRendererFactories
} from '@jupyterlab/rendermime';
import { markPlots } from '../notebook/plot_buttons';
import { NotebookModel, NotebookPanel } from '@jupyterlab/notebook';
import { Model } from '../model/model';
import { readFigure } from '../notebook/kernel';
import { cellAt } from '../notebook/notebook';
import { plotFacts } from '../notebook/plots';
import { ScriptedServer } from './scripted';

const PLOTLY = 'application/vnd.plotly.v1+json';
const VEGA = 'application/vnd.vegalite.v5+json';
const SPEC = { data: [{ type: 'bar', y: [1, 2] }] };

/** A notebook with one cell; its kernel answers `value` and records the requests. */
function notebook(
  data: object,
  value: string[] = []
): { panel: NotebookPanel; asked: string[] } {
  const model = new NotebookModel();
  const output = { output_type: 'display_data', metadata: {}, data };
  const cell = {
    id: 'a',
    cell_type: 'code',
    source: 'plot()',
    metadata: {},
    execution_count: 7,
    outputs: [output]
  };
  model.fromJSON({
    cells: [cell],
    metadata: {},
    nbformat: 4,
    nbformat_minor: 5
  } as never);
  const asked: string[] = [];
  const requestExecute = (content: {
    user_expressions: { value: string };
  }): object => {
    asked.push(content.user_expressions.value);
    const text = `'${JSON.stringify(value)}'`;
    const reply = {
      user_expressions: { value: { data: { 'text/plain': text } } }
    };
    return { done: Promise.resolve({ content: reply }), dispose: () => {} };
  };
  const panel = {
    content: { model, activeCellIndex: 0 },
    sessionContext: { session: { kernel: { status: 'idle', requestExecute } } }
  } as unknown as NotebookPanel;
  return { panel, asked };
}

describe('plotFacts', () => {
  it('reads a saved specification on the server, without the kernel', async () => {
    const { panel, asked } = notebook({
      [PLOTLY]: SPEC,
      'text/html': '<div/>'
    });
    const server = new ScriptedServer(() => ({
      has_numbers: true,
      text: 'bars 1 and 2'
    }));
    const cell = cellAt(panel, 0)!;
    expect(cell.plots).toEqual([{ picture: null, spec: { [PLOTLY]: SPEC } }]);
    const facts = await plotFacts(
      new Model(server),
      panel,
      cell,
      cell.plots[0]
    );
    expect(facts).toEqual(['bars 1 and 2']);
    expect(server.sent.map(({ path, body }) => [path, body])).toEqual([
      ['/api/figure', { data: { [PLOTLY]: SPEC } }]
    ]);
    expect(asked).toEqual([]);
  });

  it('returns nothing for a specification without data, or on failure', async () => {
    const { panel } = notebook({ [PLOTLY]: SPEC });
    const cell = cellAt(panel, 0)!;
    for (const answer of [
      () => ({ has_numbers: false, text: 'x' }),
      () => {
        throw new Error('gone');
      }
    ]) {
      const model = new Model(new ScriptedServer(answer));
      expect(await plotFacts(model, panel, cell, cell.plots[0])).toEqual([]);
    }
  });

  it('identifies an image in the kernel by its pixels, not by its run', async () => {
    const { panel, asked } = notebook({ 'image/png': 'AAAA\nBBBB' }, ['facts']);
    const cell = cellAt(panel, 0)!;
    const model = new Model(new ScriptedServer(() => ({})));
    expect(await plotFacts(model, panel, cell, cell.plots[0])).toEqual([
      'facts'
    ]);
    expect(asked[0]).toContain('facts_of_image(get_ipython(), "AAAABBBB")');
    expect(asked[0]).not.toContain('facts_of_run');
  });

  it('identifies an SVG by its run, since the kernel keeps no pixels of it', async () => {
    const { panel, asked } = notebook({ 'image/svg+xml': '<svg/>' }, ['facts']);
    const cell = cellAt(panel, 0)!;
    const model = new Model(new ScriptedServer(() => ({})));
    await plotFacts(model, panel, cell, cell.plots[0]);
    expect(asked[0]).toContain('facts_of_run(get_ipython(), 7)');
  });
});

describe('hasVision', () => {
  it('depends on the default model if none is loaded', async () => {
    const rows = (can: string[]): object => ({
      models: [
        { name: 'a', can, default: true },
        { name: 'b', can: ['text', 'image'], default: false }
      ]
    });
    const model = (can: string[]): Model =>
      new Model(new ScriptedServer(() => rows(can)));
    expect(await model(['text']).hasVision()).toBe(false);
    expect(await model(['text', 'image']).hasVision()).toBe(true);
  });
});

describe('readFigure', () => {
  it('puts only base64 into the expression', async () => {
    const { panel, asked } = notebook({});
    for (const end of ['AA")+x+("A', 'AAA', '', 'AA\\"AAAA', 'AAAA====']) {
      expect(await readFigure(panel, `data:image/png;base64,${end}`)).toEqual(
        []
      );
    }
    expect(asked).toEqual([]);
  });

  it('sends only the end of a long image', async () => {
    const { panel, asked } = notebook({}, []);
    await readFigure(
      panel,
      `data:image/png;base64,${'A'.repeat(4000)}${'B'.repeat(398)}==`
    );
    expect(asked[0]).toContain(
      `facts_of_image(get_ipython(), "${'B'.repeat(398)}==")`
    );
  });
});

function shown(data: object): object {
  return { output_type: 'display_data', metadata: {}, data };
}

describe('markPlots', () => {
  const create = (): HTMLButtonElement => document.createElement('button');
  const marked = (area: OutputArea): number[] =>
    area.widgets.map(w => w.node.querySelectorAll('button').length);

  it('depends on the data of an output, not on its renderer', () => {
    const values = [
      shown({ [PLOTLY]: { data: [] }, 'text/plain': 'Figure' }),
      { output_type: 'stream', name: 'stdout', text: 'application/vnd.plotly' },
      shown({ [VEGA]: {}, 'text/html': '<p>' }),
      shown({ 'text/plain': 'x' }),
      shown({ 'image/svg+xml': '<svg/>' })
    ];
    const area = new OutputArea({
      model: new OutputAreaModel({ values: values as never }),
      rendermime: new RenderMimeRegistry({
        initialFactories: standardRendererFactories
      })
    });
    area.outputLengthChanged.connect(() => markPlots(area, create));
    markPlots(area, create);
    markPlots(area, create);
    expect(marked(area)).toEqual([1, 0, 1, 0, 1]);
    // outputs that are replaced by another type
    area.model.set(0, shown({ 'text/plain': 'y' }) as never);
    area.model.set(3, shown({ [VEGA]: {}, 'text/plain': 'chart' }) as never);
    expect(marked(area)).toEqual([0, 0, 1, 1, 1]);
    area.model.clear();
    area.model.add(shown({ [PLOTLY]: {}, 'text/plain': 'z' }) as never);
    expect(marked(area)).toEqual([1]);
    area.dispose();
  });
});
