/** What goes with a question: the notebook, what is in focus, what was attached; its exact tokens. Knows no DOM. */
import { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { ISignal, Signal } from '@lumino/signaling';
import { Attachments, baseName, cellName, fenced, IText } from './attachments';
import { IServer } from '../chat/chat';
import { IMessage, toPrompt } from '../chat/message';
import {
  cellTokens,
  ILedger,
  ledgerOf,
  pictureTokens,
  questionTokens,
  segmentTokens
} from './ledger';
import { activeCell, cutMiddle, lastError, selectedText } from '../notebook/notebook';
import { isShowable } from '../text/sanitize';
import { readAhead, snapshot } from '../notebook/snapshot';
import { IExtras, IVariable, Part, Scope } from '../protocol';
import { readVariables, watchFigures } from '../notebook/kernel';

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
      this._variables = [];
      update();
      void this.readVariables();
    });
    _tracker?.activeCellChanged.connect(update);
    _tracker?.selectionChanged.connect(update);
  }

  readonly attached = new Attachments(() => this._changed.emit());

  /** Of the settings. */
  scope: Scope = 'notebook';
  instructions = '';
  /** The next question is to read all of a notebook that does not fit, part by part. */
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

  /** What was attached to one question; the switches stay. */
  clear(): void {
    this.attached.clear();
    this._switches.error = false;
    this.isThorough = false;
    this._changed.emit();
  }

  chips(): IChip[] {
    const panel = this.notebook;
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
    if (panel) {
      const cell = activeCell(panel);
      const ledger = this.ledger;
      add(
        'notebook',
        baseName(panel.context.path),
        ledger && cellTokens(ledger)
      );
      if (cell) {
        add(
          'cell',
          cellName(cell.index),
          ledger && cellTokens(ledger, cell.index)
        );
      }
      if (this._selection()) {
        add('selection', '', this._countOf('selection'));
      }
      const error = lastError(panel);
      if (error?.error) {
        add('error', error.error.ename, this._countOf('error'));
      }
      if (this._variables.length) {
        add(
          'variables',
          String(this._variables.length),
          ledger && segmentTokens(ledger, 'variables', 'variable')
        );
      }
    }
    for (const attached of this.attached.all) {
      chips.push({
        id: attached.id,
        kind: attached.kind,
        label: this.attached.label(attached, panel),
        isOn: true,
        isRemovable: true,
        tokens: this._countOf(attached.id),
        ...(attached.kind === 'image' && isShowable(attached.picture.url)
          ? { picture: attached.picture.url }
          : {})
      });
    }
    return chips;
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
      ...(this._switches.variables && this._variables.length
        ? { variables: this._variables }
        : {}),
      ...(this.instructions.trim()
        ? { instructions: this.instructions.trim() }
        : {}),
      ...(this.isThorough ? { thorough: true } : {})
    };
  }

  /** The question and, as parts of their own, everything attached to it. */
  content(question: string, shape = ''): Part[] {
    return [
      question,
      ...this._texts().map(({ text }) => `\n\n${text}`),
      // last: small models heed what they read last
      ...(shape ? [`\n\n${shape}`] : []),
      ...this.attached.pictures.map(({ url }) => ({ image_url: url }))
    ];
  }

  /** Read the kernel's variables again; after a cell ran, after a notebook was opened. */
  async readVariables(): Promise<void> {
    this._isRead = false;
    return (this._reading ??= this._read().finally(
      () => (this._reading = null)
    ));
  }

  get variables(): IVariable[] {
    return this._variables;
  }

  /**
   * Ask the server for exact counts of what would be sent now; silent where no tokenizer is at hand. `canSee`: whether
   * the model takes pictures, else they are not counted.
   */
  async count(
    draft: string,
    before: IMessage[],
    canSee = false,
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
    const asked = {
      role: 'user' as const,
      // parts of their own, so that each is counted
      content: [
        draft || '?',
        ...texts.map(t => `\n\n${t.text}`),
        ...pictures.map(({ picture }) => ({ image_url: picture.url }))
      ]
    };
    const messages = toPrompt([...before, asked], canSee);
    try {
      const data = await this._server.ask(
        'POST',
        '/api/context',
        // of one prompt: what a thorough reading would spare is what is asked about
        {
          ...sampling,
          messages,
          mistral: { ...this.extras(), thorough: false }
        },
        abort.signal
      );
      this.ledger = ledgerOf(data);
      // what is asked now stands last
      const counts = questionTokens(this.ledger).slice(-texts.length);
      const sizes = pictureTokens(this.ledger).slice(-pictures.length);
      this._counts = new Map(texts.map(({ id }, i) => [id, counts[i] ?? 0]));
      if (canSee) {
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

  /** Once more where a cell ran meanwhile, however many did. */
  private async _read(): Promise<void> {
    while (!this._isRead) {
      this._isRead = true;
      const panel = this.notebook;
      const found = this._switches.variables ? await readVariables(panel) : [];
      // a busy kernel has what it had
      if (found && panel === this.notebook) {
        this._variables = found;
        this._changed.emit();
      }
      await watchFigures(panel);
    }
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
    const found: IText[] = [];
    const cell = activeCell(panel);
    const selection = this._selection();
    if (selection && this._switches.selection && cell) {
      found.push({
        id: 'selection',
        text: `Selected in ${cellName(cell.index)}:\n${fenced(selection, cell)}`
      });
    }
    const failed = this._switches.error ? lastError(panel) : null;
    if (failed?.error) {
      const trace = cutMiddle(failed.error.traceback, MAX_TRACEBACK);
      found.push({
        id: 'error',
        text: `The last error, in ${cellName(failed.index)}:\n\`\`\`text\n${trace}\n\`\`\``
      });
    }
    found.push(...this.attached.texts(panel));
    return found;
  }

  private _switches: Record<SwitchName, boolean> = {
    notebook: true,
    cell: true,
    selection: true,
    error: false,
    variables: true
  };
  private _variables: IVariable[] = [];
  private _reading: Promise<void> | null = null;
  private _isRead = true;
  private _counts = new Map<string, number>();
  private _abort: AbortController | null = null;
  private _changed = new Signal<this, void>(this);
  private _counted = new Signal<this, void>(this);
}
