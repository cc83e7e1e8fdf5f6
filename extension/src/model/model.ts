/** The model behind the server: its state, loading it, leaving it, the others there are. Knows no DOM. */
import { ISignal, Signal } from '@lumino/signaling';
import { IServer } from '../chat/chat';
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
} from '../protocol';
import { Order } from '../api/latest';
import { isAbort, toFailure } from '../api/request';

/** A row of the catalogue, as `jupyter mistral models --json` prints it. Bytes are plain numbers. */
export interface ICatalogueRow {
  name: string;
  title: string;
  licence: string;
  parameters: number;
  can: string[];
  /** ready (4-bit weights on disk), on disk (downloaded), damaged, refused, absent, external. */
  state: string;
  isDefault: boolean;
  isGated: boolean;
  downloadBytes: number;
  /** Needed at 4,096 tokens of context; 0 where it is not known. */
  memoryBytes: number;
  fits: 'gpu' | 'cpu' | 'no';
  reason: string;
  note: string;
}

/** One check of `jupyter mistral doctor`: what was looked at, what was found, what to do where it is not well. */
export interface ICheck {
  name: string;
  state: 'ok' | 'warn' | 'blocked';
  found: string;
  todo: string;
}

const IDLE_MS = 5000;
const HIDDEN_MS = 20_000;
const BUSY_MS = 1000;

export class Model {
  constructor(private _server: IServer) {}

  status: IStatus | null = null;
  /** Of a load that this page asked for. */
  progress: ILoading | null = null;
  /** Why the last thing asked for here did not work. */
  failure: Failure | null = null;
  catalogue: ICatalogueRow[] = [];
  /** Null until they were made. */
  checks: ICheck[] | null = null;

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get isLoading(): boolean {
    return this._abort !== null || this.status?.state === 'loading';
  }

  /** Whether it is this page that waits for the load. */
  get canCancel(): boolean {
    return this._abort !== null;
  }

  get isReady(): boolean {
    return this.status?.state === 'ready';
  }

  /** A model that cannot see; false while none is loaded. */
  get isBlind(): boolean {
    const model = this.status?.model;
    return model ? !model.can.includes('image') : false;
  }

  /** Whether the model that would answer now takes pictures: the default one where none is loaded. */
  async canSee(): Promise<boolean> {
    if (this.status?.model) {
      return !this.isBlind;
    }
    if (!this.catalogue.length) {
      await this.readCatalogue();
    }
    return this.catalogue.some(
      row => row.isDefault && row.can.includes('image')
    );
  }

  async refresh(): Promise<void> {
    const isNewest = this._order.ask();
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

  /** Ask for the status again and again, less often while nobody looks (`isSeen`); returns what ends it. */
  poll(isSeen: () => boolean): () => void {
    let waited = HIDDEN_MS;
    let isAsking = false;
    const timer = window.setInterval(() => {
      waited += BUSY_MS;
      const isMoving = this.isLoading || this.status?.running;
      const wait = isMoving ? BUSY_MS : isSeen() ? IDLE_MS : HIDDEN_MS;
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

  /** Have the server look at everything that answering needs; takes seconds. */
  async readChecks(): Promise<void> {
    try {
      const data = asRecord(await this._server.ask('GET', '/api/doctor'));
      this.checks = asList(data.checks).map(checkOf);
    } catch {
      this.checks = []; // the status tells why
    }
    this._changed.emit();
  }

  row(name: string): ICatalogueRow | undefined {
    return this.catalogue.find(row => row.name === name);
  }

  /** Make the model ready, downloading it only where `download` says so; null is the default model. */
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

  /** Stop waiting for a load; the server stops it when nobody waits. */
  cancelLoad(): void {
    this._abort?.abort();
  }

  /** The facts, in words, of a plot's saved description; empty where it cannot be read. */
  async readPlot(spec: Record<string, unknown>): Promise<string[]> {
    try {
      const body = { data: spec };
      const told = asRecord(
        await this._server.ask('POST', '/api/figure', body)
      );
      return told.has_numbers === true ? [asText(told.text)] : [];
    } catch {
      return []; // the question goes without
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
  private _order = new Order();
  private _changed = new Signal<this, void>(this);
}

/** A failure that a status that works again does not clear. */
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
    found: asText(check.found),
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
