/** Images for a question: read, checked and scaled down to what models use. An SVG is sent as is. */
import { Failure, MAX_IMAGE_BYTES, PICTURE_TYPES, SVG } from '../api/protocol';
import { trans } from '../translation';

/** Mistral's vision models take at most 1540 pixels a side. */
const MAX_SIDE = 1540;
/** Bytes per call of `String.fromCharCode`, whose number of arguments is limited. */
const PIECE = 2 ** 15;

export interface IAttachedPicture {
  url: string;
  /** In pixels; 0 for an SVG, which the server rasterizes. */
  width: number;
  height: number;
  name: string;
}

export async function pictureOfFile(file: File): Promise<IAttachedPicture> {
  if (!PICTURE_TYPES.includes(file.type)) {
    throw new Failure(
      'bad_picture',
      trans.__('%1 is not a PNG, JPEG, WebP, GIF or SVG image.', file.name),
      trans.__('Save it as a PNG and attach that.')
    );
  }
  if (file.size > MAX_IMAGE_BYTES) {
    throw new Failure(
      'bad_picture',
      trans.__(
        '%1 is %2 MB; the limit is %3 MB.',
        file.name,
        Math.round(file.size / 2 ** 20),
        MAX_IMAGE_BYTES >> 20
      ),
      trans.__('Crop or resize it.')
    );
  }
  let bytes: Uint8Array;
  try {
    bytes = new Uint8Array(await file.arrayBuffer());
  } catch {
    throw new Failure(
      'bad_picture',
      trans.__('%1 could not be read.', file.name),
      trans.__('Try again.')
    );
  }
  return pictureOfUrl(dataUrl(file.type, bytes), file.name);
}

/** Returns the data: URL of an SVG. */
export function drawingUrl(svg: string): string {
  return dataUrl(SVG, new TextEncoder().encode(svg));
}

function dataUrl(mime: string, bytes: Uint8Array): string {
  const pieces: string[] = [];
  for (let at = 0; at < bytes.length; at += PIECE) {
    pieces.push(String.fromCharCode(...bytes.subarray(at, at + PIECE)));
  }
  return `data:${mime};base64,${btoa(pieces.join(''))}`;
}

/** Reads the image of a data: URL; never fetches one. */
export async function pictureOfUrl(
  url: string,
  name: string
): Promise<IAttachedPicture> {
  if (!/^data:image\//.test(url)) {
    throw new Failure(
      'bad_picture',
      trans.__('Remote images are never loaded.')
    );
  }
  if (url.startsWith(`data:${SVG};base64,`)) {
    if (!isSvg(url)) {
      throw damaged(name);
    }
    // not drawn here: the server's decoder has limits on time and memory, the page has none
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

/** Looks for the root element only; the server checks the rest. */
function isSvg(url: string): boolean {
  try {
    return /<([\w-]+:)?svg[\s>]/.test(atob(url.slice(url.indexOf(',') + 1)));
  } catch {
    return false;
  }
}

function damaged(name: string): Failure {
  return new Failure(
    'bad_picture',
    trans.__('%1 is damaged or is not an image.', name),
    trans.__('Open it in an image editor and save it again.')
  );
}
