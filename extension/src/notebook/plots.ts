/** The numbers behind one plot: from the kernel that drew it, else from what the plot's saved output says itself. */
import { NotebookPanel } from '@jupyterlab/notebook';
import { Model } from '../model/model';
import { readFigure, readFigures } from './kernel';
import { ICellView, IPlot } from './notebook';

/** At most one text for each figure; empty where nobody knows. */
export async function plotFacts(
  model: Model,
  panel: NotebookPanel | null,
  cell: ICellView,
  plot: IPlot
): Promise<string[]> {
  if (plot.spec) {
    return model.readPlot(plot.spec);
  }
  const picture = plot.picture ?? '';
  // run numbers begin again with each kernel, so that a saved picture is known by its pixels; an SVG was not kept
  return picture.startsWith('data:image/svg')
    ? cell.run
      ? readFigures(panel, cell.run)
      : []
    : readFigure(panel, picture);
}
