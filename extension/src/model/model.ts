/** The model on the server: its state, loading and unloading it, and the catalogue of models. No DOM. */
import { ISignal, Signal } from '@lumino/signaling';
import {
  asList,
  asNumber,
  asRecord,
  asText,
  asTexts,
  eventOf,
  Failure,
  ILoading,
  IStatus,
  statusOf
} from '../api/protocol';
import { LatestReply } from '../api/latest_reply';
import { IServer, isAbort, toFailure } from '../api/request';

/** A row of the catalogue, as `jupyter mistral models --json` prints it. */
export interface ICatalogueRow {
  name: string;
  title: string;
  licence: string;
  parameters: number;
  can: string[];
  /** ready (4-bit weights on disk), on disk (downloaded), damaged, refused, absent or external. */
  state: string;
  isDefault: boolean;
  isGated: boolean;
  downloadBytes: number;
  /** Needed at a context of 4,096 tokens; 0 if unknown. */
  memoryBytes: number;
  fits: 'gpu' | 'cpu' | 'no';
  reason: string;
  note: string;
}

/** One check of `jupyter mistral doctor`: its name, result and, if it failed, what to do. */
export interface ICheck {
  name: string;
  state: 'ok' | 'warn' | 'blocked';
  result: string;
  todo: string;
}

const IDLE_MS = 5000;
const HIDDEN_MS = 20_000;
const BUSY_MS = 1000;

export class Model {
  constructor(private _server: IServer) {}

  status: IStatus | null = null;
  /** Progress of a load that this page requested. */
  progress: ILoading | null = null;
  /** Why the last request failed. */
  failure: Failure | null = null;
  catalogue: ICatalogueRow[] = [];
  /** Null until the checks have run. */
  checks: ICheck[] | null = null;

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get isLoading(): boolean {
    return this._abort !== null || this.status?.state === 'loading';
  }

  /** Whether this page requested the load. */
  get canCancel(): boolean {
    return this._abort !== null;
  }

  get isReady(): boolean {
    return this.status?.state === 'ready';
  }

  /** Whether the loaded model has no vision; false if none is loaded. */
  get lacksVision(): boolean {
    const model = this.status?.model;
    return model ? !model.can.includes('image') : false;
  }

  /** Whether the model that would answer now (the default one if none is loaded) has vision. */
  async hasVision(): Promise<boolean> {
    if (this.status?.model) {
      return !this.lacksVision;
    }
    if (!this.catalogue.length) {
      await this.readCatalogue();
    }
    return this.catalogue.some(
      row => row.isDefault && row.can.includes('image')
    );
  }

  async refresh(): Promise<void> {
    const isNewest = this._latest.expect();
    try {
      const status = statusOf(await this._server.ask('GET', '/api/status'));
      if (!isNewest()) {
        return;
      }
      this.status = status;
      if (this.failure && !isLasting(this.failure)) {
        this.failure = null;
      }
    } catch (error) {
      if (!isNewest()) {
        return;
      }
      this.failure = toFailure(error);
      this.status = null;
    }
    this._changed.emit();
  }

  /** Polls the status, less often while the panel is hidden. Returns a function that stops it. */
  poll(isVisible: () => boolean): () => void {
    let waited = HIDDEN_MS;
    let isAsking = false;
    const timer = window.setInterval(() => {
      waited += BUSY_MS;
      const isMoving = this.isLoading || this.status?.running;
      const wait = isMoving ? BUSY_MS : isVisible() ? IDLE_MS : HIDDEN_MS;
      if (waited >= wait && !isAsking && !document.hidden) {
        waited = 0;
        isAsking = true;
        void this.refresh().finally(() => (isAsking = false));
      }
    }, BUSY_MS);
    return () => clearInterval(timer);
  }

  async readCatalogue(): Promise<void> {
    try {
      const data = await this._server.ask('GET', '/api/models');
      const rows = Array.isArray(data) ? data : asList(asRecord(data).models);
      this.catalogue = rows.map(rowOf);
    } catch (error) {
      this.failure = toFailure(error);
    }
    this._changed.emit();
  }

  /** Runs the server's checks of everything that an answer needs; takes seconds. */
  async readChecks(): Promise<void> {
    try {
      const data = asRecord(await this._server.ask('GET', '/api/doctor'));
      this.checks = asList(data.checks).map(checkOf);
    } catch {
      this.checks = []; // the status shows why
    }
    this._changed.emit();
  }

  row(name: string): ICatalogueRow | undefined {
    return this.catalogue.find(row => row.name === name);
  }

  /** Loads a model (null: the default one); downloads it only if `download` is true. */
  async load(name: string | null, download: boolean): Promise<void> {
    if (this._abort) {
      return;
    }
    const abort = (this._abort = new AbortController());
    this.failure = null;
    this.progress = { stage: 'load', fraction: null, detail: '', eta_s: null };
    this._changed.emit();
    try {
      const body = { ...(name === null ? {} : { model: name }), download };
      for await (const chunk of this._server.stream(
        'POST',
        '/api/load',
        body,
        abort.signal
      )) {
        const event = eventOf(chunk);
        if (event?.type === 'loading') {
          this.progress = event;
          this._changed.emit();
        }
      }
    } catch (error) {
      if (!isAbort(error)) {
        this.failure = toFailure(error);
      }
    } finally {
      this._abort = null;
      this.progress = null;
    }
    await this.refresh();
  }

  /** Stops waiting for a load; the server cancels a load that nobody waits for. */
  cancelLoad(): void {
    this._abort?.abort();
  }

  /** Returns a text with the data of a plot's saved specification, or nothing if it cannot be read. */
  async readPlot(spec: Record<string, unknown>): Promise<string[]> {
    try {
      const body = { data: spec };
      const figure = asRecord(
        await this._server.ask('POST', '/api/figure', body)
      );
      return figure.has_numbers === true ? [asText(figure.text)] : [];
    } catch {
      return []; // the question is sent without it
    }
  }

  async unload(): Promise<void> {
    try {
      await this._server.ask('POST', '/api/unload', {});
      this.failure = null;
    } catch (error) {
      this.failure = toFailure(error);
    }
    await this.refresh();
  }

  private _abort: AbortController | null = null;
  private _latest = new LatestReply();
  private _changed = new Signal<this, void>(this);
}

/** Whether the failure stays after the server answers again. */
export function isLasting(failure: Failure): boolean {
  return !['server_gone', 'no_extension', 'unauthorized'].includes(
    failure.code
  );
}

function checkOf(data: unknown): ICheck {
  const check = asRecord(data);
  const state = asText(check.state);
  return {
    name: asText(check.name),
    state: state === 'ok' || state === 'blocked' ? state : 'warn',
    result: asText(check.found),
    todo: asText(check.todo)
  };
}

function rowOf(data: unknown): ICatalogueRow {
  const row = asRecord(data);
  const fits = asText(row.fits);
  return {
    name: asText(row.name),
    title: asText(row.title) || asText(row.name),
    licence: asText(row.licence),
    parameters: asNumber(row.parameters),
    can: asTexts(row.can),
    state: asText(row.state),
    isDefault: row.default === true,
    isGated: row.gated === true,
    downloadBytes: asNumber(asRecord(row.disk).download),
    memoryBytes: asNumber(asRecord(row.memory)['4096']),
    fits: fits === 'gpu' || fits === 'cpu' ? fits : 'no',
    reason: asText(row.fits_reason),
    note: asText(row.note)
  };
}
