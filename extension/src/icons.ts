/** The extension's own icons; everything else uses JupyterLab's. */
import { LabIcon } from '@jupyterlab/ui-components';

/** Three gusts: the mistral is a wind. */
export const mistralIcon = new LabIcon({
  name: 'jupyter-mistral:mistral',
  svgstr:
    '<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24" fill="none" stroke-width="2" stroke-linecap="round">' +
    '<path class="jp-icon3" stroke="#616161" d="M3 8h10.5a2.75 2.75 0 1 0-2.6-3.6"/>' +
    '<path class="jp-icon3" stroke="#616161" d="M3 12h15.2a2.9 2.9 0 1 1-2.7 4"/>' +
    '<path class="jp-icon3" stroke="#616161" d="M3 16h7.4a2.4 2.4 0 1 1-2.2 3.3"/></svg>'
});

/** Two arrows: replace. */
export const replaceIcon = new LabIcon({
  name: 'jupyter-mistral:replace',
  svgstr:
    '<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24">' +
    '<path class="jp-icon3" fill="#616161" d="M7 7h9.2l-2.6-2.6L15 3l5 5-5 5-1.4-1.4L16.2 9H7zm10 10H7.8l2.6 2.6L9 21l-5-5 5-5 1.4 1.4L7.8 15H17z"/></svg>'
});

/** A paper plane. */
export const sendIcon = new LabIcon({
  name: 'jupyter-mistral:send',
  svgstr:
    '<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24">' +
    '<path class="jp-icon3" fill="#616161" d="M3 20.5v-7l10-1.5-10-1.5v-7L21.5 12z"/></svg>'
});

/** A paper clip. */
export const clipIcon = new LabIcon({
  name: 'jupyter-mistral:clip',
  svgstr:
    '<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24">' +
    '<path class="jp-icon3" fill="#616161" d="M16.5 6v11.5a4 4 0 0 1-8 0V5a2.5 2.5 0 0 1 5 0v10.5a1 1 0 0 1-2 0V6H10v9.5a2.5 2.5 0 0 0 5 0V5a4 4 0 0 0-8 0v12.5a5.5 5.5 0 0 0 11 0V6z"/></svg>'
});

/** A padlock: the model's process has no network. */
export const sealIcon = new LabIcon({
  name: 'jupyter-mistral:seal',
  svgstr:
    '<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24">' +
    '<path class="jp-icon3" fill="#616161" d="M12 2a5 5 0 0 0-5 5v3H5.5v11h13V10H17V7a5 5 0 0 0-5-5zm-3 8V7a3 3 0 0 1 6 0v3z"/></svg>'
});

/** A framed image. */
export const imagesIcon = new LabIcon({
  name: 'jupyter-mistral:image',
  svgstr:
    '<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24">' +
    '<path class="jp-icon3" fill="#616161" d="M3 4h18v16H3zm2 2v9l4-4 4 4 3-3 3 3V6zm10.5 1.5a1.5 1.5 0 1 1 0 3 1.5 1.5 0 0 1 0-3z"/></svg>'
});

/** An x in brackets. */
export const variablesIcon = new LabIcon({
  name: 'jupyter-mistral:variables',
  svgstr:
    '<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24" fill="none" stroke-width="2" stroke-linecap="round">' +
    '<path class="jp-icon3" stroke="#616161" d="M7 4H4v16h3M17 4h3v16h-3M9.5 9l5 6M14.5 9l-5 6"/></svg>'
});

/** A light bulb. */
export const explainIcon = new LabIcon({
  name: 'jupyter-mistral:explain',
  svgstr:
    '<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24" fill="none" stroke-width="2" stroke-linecap="round">' +
    '<path class="jp-icon3" stroke="#616161" d="M12 3a6 6 0 0 0-3.5 10.9V16h7v-2.1A6 6 0 0 0 12 3zM9.5 19.5h5M10.5 22h3"/></svg>'
});

/** A wrench. */
export const fixIcon = new LabIcon({
  name: 'jupyter-mistral:fix',
  svgstr:
    '<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24">' +
    '<path class="jp-icon3" fill="#616161" d="M21 6.5a5.5 5.5 0 0 1-7.4 5.2L6.3 19a1.9 1.9 0 0 1-2.7-2.7L10.9 9A5.5 5.5 0 0 1 17.8 2L14.5 5.3l.9 2.8 2.8.9L21.5 5.7z"/></svg>'
});

/** Lines of text with a check mark. */
export const documentIcon = new LabIcon({
  name: 'jupyter-mistral:document',
  svgstr:
    '<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24" fill="none" stroke-width="2" stroke-linecap="round">' +
    '<path class="jp-icon3" stroke="#616161" d="M4 5h16M4 10h16M4 15h9M4 20h6M15 18l2.5 2.5L22 16"/></svg>'
});

/** A curve between axes. */
export const plotIcon = new LabIcon({
  name: 'jupyter-mistral:plot',
  svgstr:
    '<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24" fill="none" stroke-width="2" stroke-linecap="round" stroke-linejoin="round">' +
    '<path class="jp-icon3" stroke="#616161" d="M4 4v16h16M7.5 15l4-5 3 2.5L20 6"/></svg>'
});
