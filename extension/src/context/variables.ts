/** The kernel's variables as they were last read. No DOM. */
import { NotebookPanel } from '@jupyterlab/notebook';
import { readVariables, watchFigures } from '../notebook/kernel';
import { IVariable } from '../api/protocol';

export class Variables {
  constructor(
    private _notebook: () => NotebookPanel | null,
    private _isOn: () => boolean,
    private _onChange: () => void
  ) {}

  get all(): IVariable[] {
    return this._all;
  }

  clear(): void {
    this._all = [];
  }

  /** Reads them again, after a cell has run or a notebook was opened. */
  async read(): Promise<void> {
    this._isCurrent = false;
    return (this._reading ??= this._read().finally(
      () => (this._reading = null)
    ));
  }

  /** Reads once more if cells have run meanwhile. */
  private async _read(): Promise<void> {
    while (!this._isCurrent) {
      this._isCurrent = true;
      const panel = this._notebook();
      const variables = this._isOn() ? await readVariables(panel) : [];
      // null from a busy kernel: the earlier variables stay
      if (variables && panel === this._notebook()) {
        this._all = variables;
        this._onChange();
      }
      await watchFigures(panel);
    }
  }

  private _all: IVariable[] = [];
  private _reading: Promise<void> | null = null;
  private _isCurrent = true;
}
