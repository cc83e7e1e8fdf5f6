/** Buttons on outputs: Fix and Explain below a traceback, Explain plot on an image. The outputs stay unchanged. */
import {
  IRenderMime,
  IRenderMimeRegistry,
  RenderedImage
} from '@jupyterlab/rendermime';
import { TranslationBundle } from '@jupyterlab/translation';
import { Panel, Widget } from '@lumino/widgets';
import { explainIcon, fixIcon, plotIcon } from '../icons';
import { isMagicError } from './notebook';
import { asRecord, asText, IMAGE_TYPES } from '../api/protocol';
import { LabIcon } from '@jupyterlab/ui-components';

const ERROR = 'application/vnd.jupyter.error';
const TRACEBACK = 'application/vnd.jupyter.stderr';

/** The actions of the buttons; `node` is inside the output. */
export interface IOutputActions {
  fix: (node: Node) => void;
  explain: (node: Node) => void;
  explainPlot: (node: Node) => void;
}

function button(
  icon: LabIcon,
  label: string,
  onClick: (node: Node) => void
): HTMLButtonElement {
  const node = document.createElement('button');
  node.type = 'button';
  node.className = 'jp-MistralOutputButton';
  icon.element({
    container: node.appendChild(document.createElement('span')),
    width: '14px'
  });
  node.append(label);
  node.addEventListener('click', () => onClick(node));
  return node;
}

export function plotButton(
  explainPlot: (node: Node) => void,
  trans: TranslationBundle
): HTMLButtonElement {
  return button(plotIcon, trans.__('Explain plot'), explainPlot);
}

/** The usual traceback with a row of buttons below. */
class ErrorWithButtons extends Panel implements IRenderMime.IRenderer {
  constructor(
    private _traceback: IRenderMime.IRenderer,
    buttons: HTMLButtonElement[],
    label: string
  ) {
    super();
    this.addClass('jp-MistralError');
    this.addWidget(_traceback);
    const row = this._row;
    row.addClass('jp-MistralError-buttons');
    row.node.setAttribute('role', 'toolbar');
    row.node.setAttribute('aria-label', label);
    row.node.append(...buttons);
    this.addWidget(row);
  }

  renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    // a message from our magics already says what to do
    const error = asRecord(model.data[ERROR]);
    this._row.setHidden(isMagicError(asText(error.ename)));
    return this._traceback.renderModel(model);
  }

  private _row = new Widget();
}

class ImageWithButton extends RenderedImage {
  constructor(
    options: IRenderMime.IRendererOptions,
    private _button: () => HTMLButtonElement
  ) {
    super(options);
  }

  async render(model: IRenderMime.IMimeModel): Promise<void> {
    await super.render(model);
    const { alt } = asRecord(model.metadata[this.mimeType]);
    if (typeof alt === 'string') {
      this.node.querySelector('img')?.setAttribute('alt', alt);
    }
    // keep one button, also if the image is rendered again while it renders
    this.node.querySelector(':scope > .jp-MistralOutputButton')?.remove();
    const node = this._button();
    node.classList.add('jp-mod-overlay');
    this.node.append(node);
    this.node.classList.add('jp-MistralImage');
  }
}

/** Call this before notebooks open, because each notebook copies the registry. */
export function addOutputButtons(
  rendermime: IRenderMimeRegistry,
  actions: IOutputActions,
  trans: TranslationBundle
): void {
  rendermime.addFactory(
    {
      safe: true,
      mimeTypes: [ERROR],
      createRenderer: options => {
        const traceback = rendermime.getFactory(TRACEBACK)!.createRenderer({
          ...options,
          mimeType: TRACEBACK
        });
        return new ErrorWithButtons(
          traceback,
          [
            button(fixIcon, trans.__('Fix'), actions.fix),
            button(explainIcon, trans.__('Explain'), actions.explain)
          ],
          trans.__('Help with this error')
        );
      }
    },
    // ranks before the plain traceback
    (rendermime.getRank(TRACEBACK) ?? 110) - 1
  );
  const images = IMAGE_TYPES.filter(mime => rendermime.getFactory(mime));
  rendermime.addFactory(
    {
      safe: true,
      mimeTypes: images,
      createRenderer: options =>
        new ImageWithButton(options, () =>
          plotButton(actions.explainPlot, trans)
        )
    },
    rendermime.getRank('image/png') ?? 90
  );
}
