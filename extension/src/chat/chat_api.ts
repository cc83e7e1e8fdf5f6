/** The server's routes for one chat. */
import { IServer } from '../api/request';
import { asRecord, asText } from '../api/protocol';

export const CHATS = '/api/chats';

export class ChatApi {
  /** `id` is null until the server has created the chat. */
  constructor(
    private _server: IServer,
    private _id: string | null,
    private _notebook: () => string | null
  ) {}

  get id(): string | null {
    return this._id;
  }

  /** Creates the chat, if the server does not have it yet. */
  async create(title: string): Promise<void> {
    if (this._id === null) {
      const notebook = this._notebook();
      const data = await this._server.ask('POST', CHATS, {
        ...(title ? { title } : {}),
        ...(notebook ? { notebook } : {})
      });
      this._id = asText(asRecord(data).id);
    }
  }

  /** Deletes a chat whose first question was rejected. If that fails, the next question uses the chat. */
  async discard(): Promise<void> {
    if (this._id !== null) {
      try {
        await this._server.ask('DELETE', this._path);
        this._id = null;
      } catch {
        // the user is told why the question was rejected, which matters more
      }
    }
  }

  read(): Promise<unknown> {
    return this._server.ask('GET', this._path);
  }

  async rename(title: string): Promise<void> {
    await this._server.ask('PATCH', this._path, { title });
  }

  /** Deletes a message and everything below it, and returns the chat. */
  deleteFrom(message: string): Promise<unknown> {
    return this._server.ask('DELETE', `${this._path}/messages/${message}`);
  }

  async stop(message: string): Promise<void> {
    await this._server.ask('POST', `${this._path}/messages/${message}/stop`);
  }

  /** Asks a question and streams its answer. */
  ask(body: unknown, signal: AbortSignal): AsyncGenerator<unknown> {
    return this._server.stream('POST', `${this._path}/ask`, body, signal);
  }

  /** Streams an answer in progress; its text so far is the first chunk. */
  follow(message: string, signal: AbortSignal): AsyncGenerator<unknown> {
    const path = `${this._path}/messages/${message}/stream`;
    return this._server.stream('GET', path, undefined, signal);
  }

  private get _path(): string {
    return `${CHATS}/${encodeURIComponent(this._id ?? '')}`;
  }
}
