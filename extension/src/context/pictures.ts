/** Pictures for a question: read, checked and made no larger than a model looks at. A drawing (SVG) goes as it is. */
import { Failure, MAX_IMAGE_BYTES, PICTURE_TYPES, SVG } from '../protocol';
import { trans } from '../translation';

/** Vision models of the Mistral family see 1540 pixels a side. */
const MAX_SIDE = 1540;
const PIECE = 2 ** 15;

export interface IAttachedPicture {
  url: string;
  /** In pixels; 0 for a drawing, which the server makes pixels of. */
  width: number;
  height: number;
  name: string;
}

export async function pictureOfFile(file: File): Promise<IAttachedPicture> {
  if (!PICTURE_TYPES.includes(file.type)) {
    throw new Failure(
      'bad_picture',
      trans.__('%1 is not a PNG, JPEG, WebP, GIF or SVG picture.', file.name),
      trans.__('Save it as PNG first.')
    );
  }
  if (file.size > MAX_IMAGE_BYTES) {
    throw new Failure(
      'bad_picture',
      trans.__(
        '%1 holds %2 MB, more than %3 MB.',
        file.name,
        Math.round(file.size / 2 ** 20),
        MAX_IMAGE_BYTES >> 20
      ),
      trans.__('Crop it or save it smaller.')
    );
  }
  let bytes: Uint8Array;
  try {
    bytes = new Uint8Array(await file.arrayBuffer());
  } catch {
    throw new Failure(
      'bad_picture',
      trans.__('%1 cannot be read.', file.name),
      trans.__('Try again.')
    );
  }
  return pictureOfUrl(dataUrl(file.type, bytes), file.name);
}

/** The data: URL of a drawing. */
export function drawingUrl(svg: string): string {
  return dataUrl(SVG, new TextEncoder().encode(svg));
}

function dataUrl(mime: string, bytes: Uint8Array): string {
  // in pieces: a call takes only so many arguments
  const pieces: string[] = [];
  for (let at = 0; at < bytes.length; at += PIECE) {
    pieces.push(String.fromCharCode(...bytes.subarray(at, at + PIECE)));
  }
  return `data:${mime};base64,${btoa(pieces.join(''))}`;
}

/** Of a data: URL. Never of an address elsewhere. */
export async function pictureOfUrl(
  url: string,
  name: string
): Promise<IAttachedPicture> {
  if (!/^data:image\//.test(url)) {
    throw new Failure('bad_picture', trans.__('Pictures are never fetched.'));
  }
  if (url.startsWith(`data:${SVG};base64,`)) {
    if (!isDrawing(url)) {
      throw damaged(name);
    }
    // never drawn here: the server's decoder has limits of time and memory, this page has none
    return { url, width: 0, height: 0, name };
  }
  const image = new Image();
  try {
    image.src = url;
    await image.decode();
  } catch {
    throw damaged(name);
  }
  const { naturalWidth: width, naturalHeight: height } = image;
  const scale = Math.min(1, MAX_SIDE / Math.max(width, height));
  if (scale === 1) {
    return { url, width, height, name };
  }
  const canvas = document.createElement('canvas');
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const draw = canvas.getContext('2d')!;
  draw.fillStyle = 'white';
  draw.fillRect(0, 0, canvas.width, canvas.height);
  draw.drawImage(image, 0, 0, canvas.width, canvas.height);
  return {
    url: canvas.toDataURL('image/png'),
    width: canvas.width,
    height: canvas.height,
    name
  };
}

/** Looks for the root element only; the server reads the rest. */
function isDrawing(url: string): boolean {
  try {
    return /<([\w-]+:)?svg[\s>]/.test(atob(url.slice(url.indexOf(',') + 1)));
  } catch {
    return false;
  }
}

function damaged(name: string): Failure {
  return new Failure(
    'bad_picture',
    trans.__('%1 is damaged or not a picture.', name),
    trans.__('Open and save it again.')
  );
}
