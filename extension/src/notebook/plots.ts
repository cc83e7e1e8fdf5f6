/** The data of one plot: from its specification in the output, or from the kernel that drew it. */
import { NotebookPanel } from '@jupyterlab/notebook';
import { Model } from '../model/model';
import { readFigure, readFigures } from './kernel';
import { ICellView, IPlot } from './notebook';

/** Returns at most one text per figure; empty if the data is not available. */
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
  // an image is identified by its pixels, because execution counts restart with each kernel; the kernel keeps no SVG
  return picture.startsWith('data:image/svg')
    ? cell.run
      ? readFigures(panel, cell.run)
      : []
    : readFigure(panel, picture);
}
