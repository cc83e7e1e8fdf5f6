/** Takes what is pasted, dropped or picked into the context of the next question. */
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
} from '../../protocol';
import { IServices } from '../services';
import { trans } from '../../translation';

const CELLS = 'application/vnd.jupyter.cells';
const PATHS = 'application/x-jupyter-icontents';
const MAX_FILE_BYTES = 2 ** 20;

const PDF = 'application/pdf';

export async function takeFiles(
  services: IServices,
  files: File[]
): Promise<void> {
  const { assistant } = services;
  for (const file of files) {
    if (file.type === PDF) {
      await takeDocument(services, file, file.name);
    } else if (file.type.startsWith('image/')) {
      assistant.context.attached.addPicture(await pictureOfFile(file));
    } else if (file.size > MAX_FILE_BYTES) {
      throw new Failure(
        'too_large',
        trans.__('%1 holds %2 MB.', file.name, Math.round(file.size / 2 ** 20)),
        trans.__('Attach a shorter file or paste the part that matters.')
      );
    } else {
      assistant.context.attached.addFile(file.name, await textOf(file));
    }
  }
}

/** A PDF, read by the server page by page; what was attached meanwhile stays. */
async function takeDocument(
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
      const told = asRecord(asRecord(chunk).mistral);
      if (told.event === 'page_read') {
        const [done, total] = [asNumber(told.done), asNumber(told.total)];
        attached.reading = trans.__(
          'Reading %1, page %2 of %3…',
          name,
          done,
          total
        );
      } else if (told.event === 'document') {
        attached.addFile(name, asText(asRecord(told.document).markdown));
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
      trans.__('Attach text, or a picture.')
    );
  }
}

/** A file of the server, by its path. */
export async function takePath(
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
      trans.__('%1 cannot be read.', path),
      trans.__('It may be gone, or a folder.')
    );
  }
  if (model.format === 'base64' && model.mimetype === PDF) {
    const text = atob(String(model.content));
    const bytes = Uint8Array.from(text, sign => sign.charCodeAt(0));
    await takeDocument(services, new Blob([bytes], { type: PDF }), path);
    return;
  }
  if (model.format === 'base64') {
    if (!IMAGE_TYPES.includes(model.mimetype)) {
      throw new Failure(
        'bad_file',
        trans.__('%1 is not a text file.', path),
        trans.__('Attach text, or a picture.')
      );
    }
    const url = `data:${model.mimetype};base64,${String(model.content)}`;
    assistant.context.attached.addPicture(await pictureOfUrl(url, model.name));
    return;
  }
  if (model.mimetype === SVG) {
    // Jupyter reads a drawing as text
    const url = drawingUrl(String(model.content));
    assistant.context.attached.addPicture(await pictureOfUrl(url, model.name));
    return;
  }
  assistant.context.attached.addFile(path, String(model.content));
}

/** Cells or files dragged from a notebook or the file browser. */
export async function takeDrop(
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
    await takePath(services, asText(path));
  }
}
