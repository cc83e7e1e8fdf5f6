/** Attaches pasted, dropped and chosen files to the next question. */
import { Contents } from '@jupyterlab/services';
import {
  drawingUrl,
  pictureOfFile,
  pictureOfUrl
} from '../../context/pictures';
import {
  asList,
  asNumber,
  asRecord,
  asText,
  Failure,
  IMAGE_TYPES,
  SVG
} from '../../api/protocol';
import { IServices } from '../services';
import { trans } from '../../translation';

const CELLS = 'application/vnd.jupyter.cells';
const PATHS = 'application/x-jupyter-icontents';
const MAX_FILE_BYTES = 2 ** 20;

const PDF = 'application/pdf';

export async function attachFiles(
  services: IServices,
  files: File[]
): Promise<void> {
  const { assistant } = services;
  for (const file of files) {
    if (file.type === PDF) {
      await attachDocument(services, file, file.name);
    } else if (file.type.startsWith('image/')) {
      assistant.context.attached.addPicture(await pictureOfFile(file));
    } else if (file.size > MAX_FILE_BYTES) {
      throw new Failure(
        'too_large',
        trans.__(
          '%1 is %2 MB; the limit is 1 MB.',
          file.name,
          Math.round(file.size / 2 ** 20)
        ),
        trans.__('Attach a shorter file, or paste the relevant part.')
      );
    } else {
      assistant.context.attached.addFile(file.name, await textOf(file));
    }
  }
}

/** Attaches a PDF, which the server reads page by page. */
async function attachDocument(
  { assistant, upload }: IServices,
  bytes: Blob,
  name: string
): Promise<void> {
  const { attached } = assistant.context;
  attached.reading = trans.__('Reading %1…', name);
  try {
    for await (const chunk of upload('/api/read', bytes)) {
      if (asRecord(chunk).error) {
        throw Failure.of(asRecord(chunk).error);
      }
      const event = asRecord(asRecord(chunk).mistral);
      if (event.event === 'page_read') {
        const [done, total] = [asNumber(event.done), asNumber(event.total)];
        attached.reading = trans.__(
          'Reading %1, page %2 of %3…',
          name,
          done,
          total
        );
      } else if (event.event === 'document') {
        attached.addFile(name, asText(asRecord(event.document).markdown));
      }
    }
  } finally {
    attached.reading = null;
  }
}

async function textOf(file: File): Promise<string> {
  try {
    const bytes = await file.arrayBuffer();
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new Failure(
      'bad_file',
      trans.__('%1 is not a text file.', file.name),
      trans.__('Attach a text file, a PDF or an image.')
    );
  }
}

/** Attaches a file on the server, by its path. */
export async function attachPath(
  services: IServices,
  path: string
): Promise<void> {
  const { assistant, contents } = services;
  let model: Contents.IModel;
  try {
    model = await contents.get(path, { type: 'file', content: true });
  } catch {
    throw new Failure(
      'bad_file',
      trans.__('%1 could not be read.', path),
      trans.__('Check that it exists and is a file.')
    );
  }
  if (model.format === 'base64' && model.mimetype === PDF) {
    const text = atob(String(model.content));
    const bytes = Uint8Array.from(text, sign => sign.charCodeAt(0));
    await attachDocument(services, new Blob([bytes], { type: PDF }), path);
    return;
  }
  if (model.format === 'base64') {
    if (!IMAGE_TYPES.includes(model.mimetype)) {
      throw new Failure(
        'bad_file',
        trans.__('%1 is not a text file.', path),
        trans.__('Attach a text file, a PDF or an image.')
      );
    }
    const url = `data:${model.mimetype};base64,${String(model.content)}`;
    assistant.context.attached.addPicture(await pictureOfUrl(url, model.name));
    return;
  }
  if (model.mimetype === SVG) {
    // Jupyter reads an SVG as text
    const url = drawingUrl(String(model.content));
    assistant.context.attached.addPicture(await pictureOfUrl(url, model.name));
    return;
  }
  assistant.context.attached.addFile(path, String(model.content));
}

/** Attaches cells or files dragged from a notebook or the file browser. */
export async function attachDrop(
  services: IServices,
  event: Event
): Promise<void> {
  const data = (
    event as unknown as { mimeData: { getData(mime: string): unknown } }
  ).mimeData;
  for (const cell of asList(data.getData(CELLS))) {
    services.assistant.context.attached.addCell(asText(asRecord(cell).id));
  }
  for (const path of asList(data.getData(PATHS))) {
    await attachPath(services, asText(path));
  }
}
