/** "Explain plot" on outputs that contain a plot specification or an SVG, whichever extension renders them. */
import { CodeCell } from '@jupyterlab/cells';
import { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { PLOT_TYPE } from './notebook';
import { SVG } from '../api/protocol';

type OutputArea = CodeCell['outputArea'];

const BUTTON = 'jp-MistralPlotButton';

function isPlot(area: OutputArea, index: number): boolean {
  // read from the model: how a plot is rendered depends on what is installed
  const output = area.model.get(index);
  return (
    ['display_data', 'execute_result'].includes(output?.type) &&
    Object.keys(output.data).some(mime => mime === SVG || PLOT_TYPE.test(mime))
  );
}

/** Adds a button to each plot, and removes it from outputs that are not plots. */
export function markPlots(
  area: OutputArea,
  create: () => HTMLButtonElement
): void {
  area.widgets.forEach(({ node }, index) => {
    const button = node.querySelector(`:scope > .${BUTTON}`);
    if (!isPlot(area, index)) {
      button?.remove();
      node.classList.remove('jp-MistralPlot');
    } else if (!button) {
      const overlay = create();
      overlay.classList.add('jp-mod-overlay', BUTTON);
      node.append(overlay);
      node.classList.add('jp-MistralPlot');
    }
  });
}

/** Watches the outputs of all open and future notebooks. */
export function watchPlots(
  tracker: INotebookTracker,
  create: () => HTMLButtonElement
): void {
  const known = new WeakSet<OutputArea>();
  const watch = (panel: NotebookPanel): void => {
    for (const cell of panel.isDisposed ? [] : panel.content.widgets) {
      if (!(cell instanceof CodeCell) || known.has(cell.outputArea)) {
        continue;
      }
      const area = cell.outputArea;
      known.add(area);
      area.outputLengthChanged.connect(() => markPlots(area, create));
      markPlots(area, create);
    }
  };
  const add = (_: unknown, panel: NotebookPanel): void => {
    let frame = 0;
    const later = (): void => {
      cancelAnimationFrame(frame);
      // once per change, after the cells have their widgets
      frame = requestAnimationFrame(() => watch(panel));
    };
    const listen = (): void => {
      panel.content.model?.cells.changed.connect(later);
      later();
    };
    panel.content.modelChanged.connect(listen);
    listen();
  };
  tracker.forEach(panel => add(null, panel));
  tracker.widgetAdded.connect(add);
}
