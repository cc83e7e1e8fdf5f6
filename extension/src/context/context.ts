/** The context of the next question: notebook, active cell, variables and attachments, and their tokens. No DOM. */
import { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { ISignal, Signal } from '@lumino/signaling';
import {
  Attachment,
  Attachments,
  baseName,
  cellName,
  fenced,
  IText
} from './attachments';
import { IServer } from '../api/request';
import { IMessage, toPrompt } from '../chat/message';
import {
  cellTokens,
  ILedger,
  ledgerOf,
  pictureTokens,
  questionTokens,
  segmentTokens
} from './ledger';
import {
  activeCell,
  cutMiddle,
  lastError,
  selectedText
} from '../notebook/notebook';
import { isShowable } from '../text/sanitize';
import { readAhead, snapshot } from '../notebook/snapshot';
import { IExtras, Part, Scope } from '../api/protocol';
import { Variables } from './variables';

export type SwitchName =
  'notebook' | 'cell' | 'selection' | 'error' | 'variables';

export interface IChip {
  id: string;
  kind: SwitchName | 'cells' | 'file' | 'image';
  label: string;
  isOn: boolean;
  isRemovable: boolean;
  tokens: number | null;
  picture?: string;
}

const MAX_TRACEBACK = 4000;

export class Context {
  constructor(
    private _server: IServer,
    private _tracker: INotebookTracker | null
  ) {
    const update = (): void => this._changed.emit();
    _tracker?.currentChanged.connect(() => {
      this.attached.dropCells();
      this.variables.clear();
      update();
      void this.variables.read();
    });
    _tracker?.activeCellChanged.connect(update);
    _tracker?.selectionChanged.connect(update);
  }

  readonly attached = new Attachments(() => this._changed.emit());
  readonly variables = new Variables(
    () => this.notebook,
    () => this._switches.variables,
    () => this._changed.emit()
  );

  /** From the settings. */
  scope: Scope = 'notebook';
  instructions = '';
  /** The next question reads a notebook that does not fit in parts. */
  isThorough = false;
  ledger: ILedger | null = null;

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get notebook(): NotebookPanel | null {
    const panel = this._tracker?.currentWidget ?? null;
    return panel && !panel.isDisposed && panel.content.model ? panel : null;
  }

  get isEmpty(): boolean {
    return this.attached.all.length === 0;
  }

  setThorough(isThorough: boolean): void {
    this.isThorough = isThorough;
    this._changed.emit();
  }

  isOn(name: SwitchName): boolean {
    return this._switches[name];
  }

  set(name: SwitchName, isOn: boolean): void {
    this._switches[name] = isOn;
    this._changed.emit();
  }

  toggle(chip: IChip): void {
    if (chip.isRemovable) {
      this.attached.remove(chip.id);
    } else {
      this.set(chip.kind as SwitchName, !chip.isOn);
    }
  }

  /** Resets what applied to one question only; the other switches stay. */
  clear(): void {
    this.attached.clear();
    this._switches.error = false;
    this.isThorough = false;
    this._changed.emit();
  }

  chips(): IChip[] {
    const panel = this.notebook;
    return [
      ...(panel ? this._switchChips(panel) : []),
      ...this.attached.all.map(attached => this._attachedChip(attached, panel))
    ];
  }

  private _switchChips(panel: NotebookPanel): IChip[] {
    const chips: IChip[] = [];
    const add = (
      kind: SwitchName,
      label: string,
      tokens: number | null
    ): void => {
      const isOn = this._switches[kind];
      chips.push({
        id: kind,
        kind,
        label,
        isOn,
        isRemovable: false,
        tokens: isOn ? tokens : null
      });
    };
    const cell = activeCell(panel);
    const ledger = this.ledger;
    add('notebook', baseName(panel.context.path), ledger && cellTokens(ledger));
    if (cell) {
      const tokens = ledger && cellTokens(ledger, cell.index);
      add('cell', cellName(cell.index), tokens);
    }
    if (this._selection()) {
      add('selection', '', this._countOf('selection'));
    }
    const error = lastError(panel);
    if (error?.error) {
      add('error', error.error.ename, this._countOf('error'));
    }
    if (this.variables.all.length) {
      add(
        'variables',
        String(this.variables.all.length),
        ledger && segmentTokens(ledger, 'variables', 'variable')
      );
    }
    return chips;
  }

  private _attachedChip(
    attached: Attachment,
    panel: NotebookPanel | null
  ): IChip {
    return {
      id: attached.id,
      kind: attached.kind,
      label: this.attached.label(attached, panel),
      isOn: true,
      isRemovable: true,
      tokens: this._countOf(attached.id),
      ...(attached.kind === 'image' && isShowable(attached.picture.url)
        ? { picture: attached.picture.url }
        : {})
    };
  }

  /** The `mistral` field of the request. */
  extras(): IExtras {
    const panel = this.notebook;
    const cell = this._switches.cell ? activeCell(panel) : null;
    const scope: Scope = !panel
      ? 'none'
      : this._switches.notebook
        ? this.scope
        : cell
          ? 'cell'
          : 'none';
    return {
      client: 'panel',
      scope,
      ...(panel && scope !== 'none' ? { notebook: snapshot(panel) } : {}),
      ...(cell ? { focus: cell.index } : {}),
      ...(this._switches.variables && this.variables.all.length
        ? { variables: this.variables.all }
        : {}),
      ...(this.instructions.trim()
        ? { instructions: this.instructions.trim() }
        : {}),
      ...(this.isThorough ? { thorough: true } : {})
    };
  }

  /** Returns the question and its attachments, each a part of its own. */
  content(question: string, format = ''): Part[] {
    return [
      question,
      ...this._texts().map(({ text }) => `\n\n${text}`),
      // last, because small models follow what they read last
      ...(format ? [`\n\n${format}`] : []),
      ...this.attached.pictures.map(({ url }) => ({ image_url: url }))
    ];
  }

  /**
   * Asks the server for the token counts of the prompt as it is now; no counts if that fails.
   * Images are only counted if the model has vision.
   */
  async count(
    draft: string,
    before: IMessage[],
    hasVision = false,
    sampling: Record<string, unknown> = {}
  ): Promise<void> {
    this._abort?.abort();
    const abort = (this._abort = new AbortController());
    const panel = this.notebook;
    if (panel) {
      await readAhead(panel, abort.signal);
      if (abort.signal.aborted) {
        return;
      }
    }
    const texts = this._texts();
    const pictures = this.attached.all.filter(a => a.kind === 'image');
    const question = {
      role: 'user' as const,
      // separate parts, so that each is counted
      content: [
        draft || '?',
        ...texts.map(t => `\n\n${t.text}`),
        ...pictures.map(({ picture }) => ({ image_url: picture.url }))
      ]
    };
    const messages = toPrompt([...before, question], hasVision);
    try {
      const data = await this._server.ask(
        'POST',
        '/api/context',
        // counted as one prompt, to know what does not fit in it
        {
          ...sampling,
          messages,
          mistral: { ...this.extras(), thorough: false }
        },
        abort.signal
      );
      this.ledger = ledgerOf(data);
      // the new question comes last
      const counts = questionTokens(this.ledger).slice(-texts.length);
      const sizes = pictureTokens(this.ledger).slice(-pictures.length);
      this._counts = new Map(texts.map(({ id }, i) => [id, counts[i] ?? 0]));
      if (hasVision) {
        pictures.forEach(({ id }, i) => this._counts.set(id, sizes[i] ?? 0));
      }
    } catch {
      if (abort.signal.aborted) {
        return;
      }
      this.ledger = null;
      this._counts.clear();
    }
    this._counted.emit();
  }

  get counted(): ISignal<this, void> {
    return this._counted;
  }

  private _countOf(id: string): number | null {
    return this._counts.get(id) ?? null;
  }

  private _selection(): string {
    const text = selectedText(this.notebook);
    return text.trim() ? text : '';
  }

  private _texts(): IText[] {
    const panel = this.notebook;
    const texts: IText[] = [];
    const cell = activeCell(panel);
    const selection = this._selection();
    if (selection && this._switches.selection && cell) {
      texts.push({
        id: 'selection',
        text: `Selected in ${cellName(cell.index)}:\n${fenced(selection, cell)}`
      });
    }
    const failed = this._switches.error ? lastError(panel) : null;
    if (failed?.error) {
      const trace = cutMiddle(failed.error.traceback, MAX_TRACEBACK);
      texts.push({
        id: 'error',
        text: `The last error, in ${cellName(failed.index)}:\n\`\`\`text\n${trace}\n\`\`\``
      });
    }
    texts.push(...this.attached.texts(panel));
    return texts;
  }

  private _switches: Record<SwitchName, boolean> = {
    notebook: true,
    cell: true,
    selection: true,
    error: false,
    variables: true
  };
  private _counts = new Map<string, number>();
  private _abort: AbortController | null = null;
  private _changed = new Signal<this, void>(this);
  private _counted = new Signal<this, void>(this);
}
