import { OutputArea, OutputAreaModel } from '@jupyterlab/outputarea';
import {
  RenderMimeRegistry,
  standardRendererFactories
} from '@jupyterlab/rendermime';
import { markPlots } from '../notebook/plot_buttons';

const PLOTLY = 'application/vnd.plotly.v1+json';
const VEGA = 'application/vnd.vegalite.v5+json';

function shown(data: object): object {
  return { output_type: 'display_data', metadata: {}, data };
}

describe('markPlots', () => {
  const create = (): HTMLButtonElement => document.createElement('button');
  const marked = (area: OutputArea): number[] =>
    area.widgets.map(w => w.node.querySelectorAll('button').length);

  it('goes by what an output holds, whatever is drawn of it', () => {
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
    // an output that is replaced by another kind
    area.model.set(0, shown({ 'text/plain': 'y' }) as never);
    area.model.set(3, shown({ [VEGA]: {}, 'text/plain': 'chart' }) as never);
    expect(marked(area)).toEqual([0, 0, 1, 1, 1]);
    area.model.clear();
    area.model.add(shown({ [PLOTLY]: {}, 'text/plain': 'z' }) as never);
    expect(marked(area)).toEqual([1]);
    area.dispose();
  });
});
