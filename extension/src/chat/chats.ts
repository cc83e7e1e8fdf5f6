/** The list of chats and which one is open. Knows no DOM. */
import { ISignal, Signal } from '@lumino/signaling';
import { Chat, CHATS, IServer } from './chat';
import { Order } from '../api/latest';
import { asList, asNumber, asRecord, asText, Failure } from '../protocol';
import { toFailure } from '../api/request';

export interface IChatRow {
  id: string;
  title: string;
  updated: number;
  messages: number;
  notebook: string | null;
}

/** Where a tab remembers its chat over a reload; the window's sessionStorage. */
export interface IMemory {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

const LAST = 'jupyter-mistral:chat';

export class Chats {
  constructor(
    private _server: IServer,
    private _memory: IMemory,
    private _notebook: () => string | null
  ) {
    this.current = this._first = this._make(null, '');
  }

  rows: IChatRow[] = [];
  query = '';
  current: Chat;
  failure: Failure | null = null;

  /** Emitted for the list and for everything in the current chat. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** Emitted when the user begins a chat. */
  get started(): ISignal<this, void> {
    return this._started;
  }

  /** Open what this tab had open, else the newest. Called once the panel shows. */
  async restore(): Promise<void> {
    const before = this._first;
    await this.refresh();
    const last = this._memory.getItem(LAST);
    const row = this.rows.find(r => r.id === last) ?? this.rows[0];
    // unless the user was faster: asked, opened another or began a new one
    if (
      row &&
      this.current === before &&
      before.id === null &&
      !before.isBusy
    ) {
      await this.open(row.id);
    }
  }

  /** Read the list; the open chat too if another tab went on with it. */
  async refresh(): Promise<void> {
    const isNewest = this._order.ask();
    const { current } = this;
    const { turns } = current;
    try {
      const path = this.query
        ? `${CHATS}?q=${encodeURIComponent(this.query)}`
        : CHATS;
      const data = asRecord(await this._server.ask('GET', path));
      if (!isNewest()) {
        return;
      }
      this.rows = asList(data.chats).map(rowOf);
      this.failure = null;
      const row = this.rows.find(r => r.id === current.id);
      // a list from before the last turn of the chat knows less of it than we do
      const isSame = current === this.current && current.turns === turns;
      if (row && isSame && !current.isBusy && this._isStale(row)) {
        this._seen = row.updated;
        await current.load();
      }
    } catch (error) {
      if (!isNewest()) {
        return;
      }
      this.failure = toFailure(error);
    }
    this._changed.emit();
  }

  async search(query: string): Promise<void> {
    this.query = query;
    await this.refresh();
  }

  async open(id: string): Promise<void> {
    const row = this.rows.find(r => r.id === id);
    this._show(this._make(id, row?.title ?? ''));
    this._seen = row?.updated ?? 0;
    this._memory.setItem(LAST, id);
    await this.current.load();
  }

  /** An empty chat; the server hears of it with its first question. */
  start(): void {
    this._empty();
    this._started.emit();
  }

  async rename(id: string, title: string): Promise<void> {
    if (id === this.current.id) {
      await this.current.rename(title);
    } else {
      await this._server.ask('PATCH', `${CHATS}/${id}`, { title });
    }
    await this.refresh();
  }

  async remove(id: string): Promise<void> {
    await this._server.ask('DELETE', `${CHATS}/${encodeURIComponent(id)}`);
    if (id === this.current.id) {
      this._empty();
    }
    await this.refresh();
  }

  private _isStale(row: IChatRow): boolean {
    return (
      row.updated > this._seen || row.messages !== this.current.messages.length
    );
  }

  private _make(id: string | null, title: string): Chat {
    const chat = new Chat(this._server, id, title, this._notebook);
    chat.changed.connect(() => {
      if (chat.id !== null && chat === this.current) {
        this._memory.setItem(LAST, chat.id);
      }
      this._changed.emit();
    });
    return chat;
  }

  private _empty(): void {
    this._memory.removeItem(LAST);
    this._show(this._make(null, ''));
  }

  private _show(chat: Chat): void {
    const before = this.current;
    this.current = chat;
    before.dispose();
    this._changed.emit();
  }

  private _first: Chat;
  private _seen = 0;
  private _started = new Signal<this, void>(this);
  private _order = new Order();
  private _changed = new Signal<this, void>(this);
}

function rowOf(data: unknown): IChatRow {
  const row = asRecord(data);
  return {
    id: asText(row.id),
    title: asText(row.title),
    updated: asNumber(row.updated),
    messages: asNumber(row.messages),
    notebook: asText(row.notebook) || null
  };
}
