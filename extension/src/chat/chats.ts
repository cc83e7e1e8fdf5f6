/** The list of chats, and the open one. No DOM. */
import { ISignal, Signal } from '@lumino/signaling';
import { Chat } from './chat';
import { CHATS } from './chat_api';
import { LatestReply } from '../api/latest_reply';
import { asList, asNumber, asRecord, asText, Failure } from '../api/protocol';
import { IServer, toFailure } from '../api/request';

export interface IChatRow {
  id: string;
  title: string;
  updated: number;
  messages: number;
  notebook: string | null;
}

/** Keeps the open chat of a tab across a reload: the window's sessionStorage. */
export interface ITabStorage {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

const LAST = 'jupyter-mistral:chat';

export class Chats {
  constructor(
    private _server: IServer,
    private _storage: ITabStorage,
    private _notebook: () => string | null
  ) {
    this.current = this._first = this._make(null, '');
  }

  rows: IChatRow[] = [];
  query = '';
  current: Chat;
  failure: Failure | null = null;

  /** Emitted when the list or anything in the current chat changes. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** Emitted when the user starts a chat. */
  get started(): ISignal<this, void> {
    return this._started;
  }

  /** Opens the chat that this tab had open, or the newest one. Called when the panel is first shown. */
  async restore(): Promise<void> {
    const before = this._first;
    await this.refresh();
    const last = this._storage.getItem(LAST);
    const row = this.rows.find(r => r.id === last) ?? this.rows[0];
    // unless the user has already asked something, or opened or started another chat
    if (
      row &&
      this.current === before &&
      before.id === null &&
      !before.isBusy
    ) {
      await this.open(row.id);
    }
  }

  /** Reads the list, and the open chat if another tab has continued it. */
  async refresh(): Promise<void> {
    const isNewest = this._latest.expect();
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
      // a list requested before the chat's last turn is older than the chat itself
      const isSame = current === this.current && current.turns === turns;
      if (row && isSame && !current.isBusy && this._isStale(row)) {
        this._updated = row.updated;
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
    this._updated = row?.updated ?? 0;
    this._storage.setItem(LAST, id);
    await this.current.load();
  }

  /** Opens an empty chat. The server creates it with its first question. */
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
      row.updated > this._updated ||
      row.messages !== this.current.messages.length
    );
  }

  private _make(id: string | null, title: string): Chat {
    const chat = new Chat(this._server, id, title, this._notebook);
    chat.changed.connect(() => {
      if (chat.id !== null && chat === this.current) {
        this._storage.setItem(LAST, chat.id);
      }
      this._changed.emit();
    });
    return chat;
  }

  private _empty(): void {
    this._storage.removeItem(LAST);
    this._show(this._make(null, ''));
  }

  private _show(chat: Chat): void {
    const before = this.current;
    this.current = chat;
    before.dispose();
    this._changed.emit();
  }

  private _first: Chat;
  private _updated = 0;
  private _started = new Signal<this, void>(this);
  private _latest = new LatestReply();
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
