/** The attachments of one question: cells, text files and images. No DOM. */
import { NotebookPanel } from '@jupyterlab/notebook';
import { cellAt, ICellView, indexOf } from '../notebook/notebook';
import { IAttachedPicture } from './pictures';
import { Failure, MAX_IMAGES } from '../api/protocol';
import { trans } from '../translation';

export type Attachment =
  | { id: string; kind: 'cells'; cell: string }
  | { id: string; kind: 'file'; path: string; text: string }
  | { id: string; kind: 'image'; picture: IAttachedPicture };

/** A text part of the question; `id` identifies its attachment. */
export interface IText {
  id: string;
  text: string;
}

const MAX_FILE = 200_000;

export class Attachments {
  /** `onChange` is called after each change. */
  constructor(private _onChange: () => void) {}

  get all(): Attachment[] {
    return this._all;
  }

  get pictures(): IAttachedPicture[] {
    return this._all.flatMap(a => (a.kind === 'image' ? [a.picture] : []));
  }

  addCell(id: string): void {
    if (!this._all.some(a => a.kind === 'cells' && a.cell === id)) {
      this._add({ id: this._next(), kind: 'cells', cell: id });
    }
  }

  addPicture(picture: IAttachedPicture): void {
    if (this.pictures.length >= MAX_IMAGES) {
      throw new Failure(
        'too_large',
        trans.__('A question can include at most %1 images.', MAX_IMAGES),
        trans.__('Remove one first.')
      );
    }
    this._add({ id: this._next(), kind: 'image', picture });
  }

  /** Throws a `Failure` if the file is not text or too long. */
  addFile(path: string, text: string): void {
    if (text.includes('\u0000')) {
      throw new Failure(
        'bad_file',
        trans.__('%1 is not a text file.', path),
        trans.__('Attach a text file, a PDF or an image.')
      );
    }
    if (text.length > MAX_FILE) {
      throw new Failure(
        'too_large',
        trans.__(
          '%1 has %2 characters; the limit is %3.',
          path,
          text.length.toLocaleString('en-US'),
          MAX_FILE.toLocaleString('en-US')
        ),
        trans.__('Attach a shorter file, or paste the relevant part.')
      );
    }
    this._all = this._all.filter(a => !(a.kind === 'file' && a.path === path));
    this._add({ id: this._next(), kind: 'file', path, text });
  }

  /** A message about the document that is being read; null if none is. */
  get reading(): string | null {
    return this._reading;
  }

  set reading(reading: string | null) {
    this._reading = reading;
    this._onChange();
  }

  remove(id: string): void {
    this._all = this._all.filter(a => a.id !== id);
    this._onChange();
  }

  /** Attaches again what a rejected question had. */
  putBack(attached: Attachment[]): void {
    this._all = [...attached, ...this._all];
    this._onChange();
  }

  /** Removes the cells, which belong to one notebook. */
  dropCells(): void {
    this._all = this._all.filter(a => a.kind !== 'cells');
  }

  clear(): void {
    this._all = [];
  }

  label(attached: Attachment, panel: NotebookPanel | null): string {
    switch (attached.kind) {
      case 'cells':
        return cellName(panel ? indexOf(panel, attached.cell) : -1);
      case 'file':
        return baseName(attached.path);
      case 'image':
        return attached.picture.width
          ? `${attached.picture.width}×${attached.picture.height}`
          : baseName(attached.picture.name);
    }
  }

  /** Returns files and cells as the model reads them. */
  texts(panel: NotebookPanel | null): IText[] {
    return this._all.flatMap(attached => {
      if (attached.kind === 'file') {
        const text = `The file ${attached.path}:\n\`\`\`\n${attached.text}\n\`\`\``;
        return [{ id: attached.id, text }];
      }
      const cell =
        attached.kind === 'cells' && panel
          ? cellAt(panel, indexOf(panel, attached.cell))
          : null;
      return cell
        ? [
            {
              id: attached.id,
              text: `${cellName(cell.index)}:\n${fenced(cell.source, cell)}`
            }
          ]
        : [];
    });
  }

  private _add(attachment: Attachment): void {
    this._all = [...this._all, attachment];
    this._onChange();
  }

  private _next(): string {
    return `attached-${++this._serial}`;
  }

  private _all: Attachment[] = [];
  private _serial = 0;
  private _reading: string | null = null;
}

/** Names a cell in prompts, answers and chips. */
export function cellName(index: number): string {
  return `[cell ${index}]`;
}

export function baseName(path: string): string {
  return path.split('/').pop() || path;
}

export function fenced(source: string, cell: ICellView): string {
  return `\`\`\`${cell.type === 'code' ? 'python' : cell.type}\n${source}\n\`\`\``;
}
