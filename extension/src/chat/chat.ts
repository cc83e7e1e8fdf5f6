/** One conversation: its messages, the answer that streams in, what can be done with them. Knows no DOM and no notebook. */
import { PromiseDelegate } from '@lumino/coreutils';
import { ISignal, Signal } from '@lumino/signaling';
import {
  asList,
  asRecord,
  asText,
  ChatEvent,
  eventOf,
  Failure,
  IExtras,
  Part
} from '../protocol';
import { isAbort, toFailure } from '../api/request';

import { IMessage, messageOf, textOf, toWire } from './message';
import { trans } from '../translation';

/** The part of request.ts that conversations need; tests hand in one that answers from a script. */
export interface IServer {
  ask(
    method: 'GET' | 'POST' | 'PATCH' | 'DELETE',
    path: string,
    body?: unknown,
    signal?: AbortSignal
  ): Promise<unknown>;
  stream(
    method: 'GET' | 'POST',
    path: string,
    body?: unknown,
    signal?: AbortSignal
  ): AsyncGenerator<unknown>;
}

/** A question as it leaves the composer. */
export interface IQuestion {
  content: Part[];
  extras: IExtras;
  sampling?: Record<string, unknown>;
  /** Told of the answer as soon as the server has taken the question. */
  onBegin?: (answer: IMessage) => void;
}

export const CHATS = '/api/chats';
/** At most this often is a growing answer drawn. */
const DRAW_MS = 60;

export class Chat {
  /** `id` null: a chat that the server does not know before its first question. */
  constructor(
    private _server: IServer,
    public id: string | null = null,
    public title = '',
    private _notebook: () => string | null = () => null
  ) {}

  messages: IMessage[] = [];
  /** What the answer waits for while no text comes: a place in the queue, the model, its reading. */
  progress: ChatEvent | null = null;
  /** False while the server cannot write to its disk. */
  isSaved = true;
  /** Grows as a question begins and as its answer ends: what was read of the chat before is older. */
  turns = 0;

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get isBusy(): boolean {
    return this._abort !== null;
  }

  /** Stop was pressed before the server had begun an answer. */
  get isStopping(): boolean {
    return this._isStopping;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Read the chat from the server; an answer in flight (of another tab, of before a reload) is followed. */
  async load(): Promise<void> {
    if (this.id !== null && !this.isBusy) {
      await this._load();
      const last = this.messages[this.messages.length - 1];
      if (last?.state === 'streaming' && !this.isBusy && !this._isDisposed) {
        void this._follow(last);
      }
    }
  }

  /**
   * Ask and stream the answer in; returns when it has ended. `replaces`: the message from which on this turn
   * takes the place of what was there. Throws the `Failure` of a question that the server did not take.
   */
  async ask(
    question: IQuestion,
    replaces: string | null = null
  ): Promise<void> {
    if (this.isBusy) {
      throw new Failure(
        'busy',
        trans.__('This chat is still answering.'),
        trans.__('Wait for the answer or stop it.')
      );
    }
    const abort = (this._abort = new AbortController());
    const begun = (this._begun = new PromiseDelegate());
    this.progress = null;
    this.turns++;
    this._changed.emit();
    let answer: IMessage | null = null;
    const isNew = this.id === null;
    try {
      // what came before the question stands before it
      await this._reading?.catch(() => undefined);
      await this._create();
      const body = {
        ...question.sampling,
        content: question.content.map(toWire),
        mistral: { ...question.extras, events: true },
        ...(replaces === null ? {} : { replaces })
      };
      const chunks = this._server.stream(
        'POST',
        `${this._path}/ask`,
        body,
        abort.signal
      );
      for await (const chunk of chunks) {
        const mine = asRecord(asRecord(chunk).mistral);
        if (mine.event === 'message') {
          answer = this._begin(mine, question, replaces);
          begun.resolve(answer);
        } else if (!this._apply(chunk, answer)) {
          break;
        }
      }
    } catch (error) {
      if (!answer) {
        if (isNew) {
          await this._discard();
        }
        throw isAbort(error) ? null : toFailure(error);
      }
      this._fail(answer, error);
    } finally {
      begun.resolve(null);
      this._finish();
    }
  }

  /** End the answer in flight: the model is free within a token. */
  async stop(): Promise<void> {
    let answer = this.messages.find(m => m.state === 'streaming') ?? null;
    if (!answer && this._begun && !this._isStopping) {
      // the server's first event names what to stop; who presses Stop again does not wait for it
      this._isStopping = true;
      this._changed.emit();
      answer = await this._begun.promise;
      if (!answer) {
        return; // nothing was taken that could be stopped
      }
    }
    if (!answer || this.id === null) {
      this._abort?.abort();
      return;
    }
    // the stream itself ends with what the server kept
    try {
      await this._server.ask(
        'POST',
        `${this._path}/messages/${answer.id}/stop`
      );
    } catch (error) {
      this._abort?.abort();
      throw toFailure(error);
    }
  }

  /** The same question once more; what stood after it is gone. */
  regenerate(
    message: IMessage,
    question: Omit<IQuestion, 'content'>
  ): Promise<void> {
    return this.ask({ ...question, content: [] }, message.id);
  }

  /** Remove the message and what follows it. */
  remove(message: IMessage): Promise<void> {
    const path = `${this._path}/messages/${message.id}`;
    return this._inTurn(() => this._read('DELETE', path));
  }

  async rename(title: string): Promise<void> {
    await this._create();
    await this._server.ask('PATCH', this._path, { title });
    this.title = title;
    this._changed.emit();
  }

  /** Let go of the stream; the server writes on for other readers. */
  dispose(): void {
    this._isDisposed = true;
    this._abort?.abort();
    if (this._timer !== null) {
      clearTimeout(this._timer);
    }
    Signal.clearData(this);
  }

  private get _path(): string {
    return `${CHATS}/${encodeURIComponent(this.id ?? '')}`;
  }

  private async _create(): Promise<void> {
    if (this.id === null) {
      const notebook = this._notebook();
      const data = await this._server.ask('POST', CHATS, {
        ...(this.title ? { title: this.title } : {}),
        ...(notebook ? { notebook } : {})
      });
      this.id = asText(asRecord(data).id);
    }
  }

  /** A chat that was made for a question that was not taken; one that cannot be deleted waits for the next. */
  private async _discard(): Promise<void> {
    if (this.id !== null && !this._isDisposed) {
      try {
        await this._server.ask('DELETE', this._path);
        this.id = null;
      } catch {
        // why the question was not taken is told
      }
    }
  }

  /** Two that read the chat at a time would each put messages of their own in the other's place. */
  private _inTurn(read: () => Promise<void>): Promise<void> {
    const before = this._reading?.catch(() => undefined);
    const reading = (before ? before.then(read) : read()).finally(() => {
      if (this._reading === reading) {
        this._reading = null;
      }
    });
    return (this._reading = reading);
  }

  private _load(): Promise<void> {
    return this._reading ?? this._inTurn(() => this._read());
  }

  private async _read(
    method: 'GET' | 'DELETE' = 'GET',
    path = this._path
  ): Promise<void> {
    const data = asRecord(await this._server.ask(method, path));
    this.title = asText(data.title);
    this.isSaved = data.saved !== false;
    this.messages = asList(data.messages).map(messageOf);
    this._changed.emit();
  }

  /** The first chunk: both messages as the server stored them. */
  private _begin(
    first: Record<string, unknown>,
    question: IQuestion,
    replaces: string | null
  ): IMessage {
    const kept = this.messages.findIndex(m => m.id === replaces);
    let messages = kept < 0 ? this.messages : this.messages.slice(0, kept);
    const answer = messageOf({
      role: 'assistant',
      state: 'streaming',
      ...asRecord(first.assistant)
    });
    const user = asRecord(first.user);
    // regenerating keeps the question that is there
    messages = messages.filter(m => m.id !== user.id);
    if (user.id) {
      const stored = messageOf({ role: 'user', ...user });
      if (!stored.content.length) {
        stored.content = question.content;
      }
      messages = [...messages, stored];
    }
    if (!this.title && asText(first.title)) {
      this.title = asText(first.title);
    }
    this.messages = [...messages, answer];
    question.onBegin?.(answer);
    this._changed.emit();
    return answer;
  }

  /** Take in one chunk; false at the end. Throws what an error chunk says. */
  private _apply(chunk: unknown, answer: IMessage | null): boolean {
    const mine = asRecord(asRecord(chunk).mistral);
    if (mine.event === 'saved') {
      this.isSaved = mine.saved === true;
      this._changed.emit();
      return true;
    }
    const event = eventOf(chunk);
    if (!event || !answer) {
      return true;
    }
    if (event.type === 'delta') {
      answer.content = [textOf(answer) + event.text];
      this.progress = null;
      this._draw();
      return true;
    }
    if (event.type === 'end') {
      answer.state = 'done';
      answer.usage = event.usage;
      if (event.reason === 'length') {
        answer.failure = new Failure(
          'length',
          trans.__('The answer was cut at its longest.'),
          trans.__('Ask to go on.')
        );
      }
      return false;
    }
    this.progress = event;
    this._changed.emit();
    return true;
  }

  private async _follow(answer: IMessage): Promise<void> {
    const abort = (this._abort = new AbortController());
    const path = `${this._path}/messages/${answer.id}/stream`;
    let isEnded = false;
    try {
      let isFirst = true;
      for await (const chunk of this._server.stream(
        'GET',
        path,
        undefined,
        abort.signal
      )) {
        // the text so far comes as one piece again
        if (isFirst && eventOf(chunk)?.type === 'delta') {
          answer.content = [];
          isFirst = false;
        }
        if (!this._apply(chunk, answer)) {
          break;
        }
      }
    } catch (error) {
      isEnded = toFailure(error).code === 'not_found';
      if (isEnded) {
        answer.state = 'interrupted';
      } else {
        this._fail(answer, error);
      }
    }
    this._finish();
    if (isEnded && !this._isDisposed) {
      await this._reload(answer);
    }
  }

  /** The answer ended between two looks at it: read what was kept. */
  private async _reload(answer: IMessage): Promise<void> {
    try {
      await this._load();
    } catch (error) {
      answer.failure = toFailure(error);
      this._changed.emit();
    }
  }

  private _fail(answer: IMessage, error: unknown): void {
    const failure = isAbort(error)
      ? new Failure('cancelled', trans.__('The answer was stopped.'))
      : toFailure(error);
    answer.state =
      textOf(answer) || failure.code === 'cancelled' ? 'interrupted' : 'failed';
    answer.failure = failure;
  }

  private _finish(): void {
    this._abort = this._begun = null;
    this._isStopping = false;
    this.progress = null;
    this.turns++;
    if (!this._isDisposed) {
      this._changed.emit();
    }
  }

  private _draw(): void {
    this._timer ??= window.setTimeout(() => {
      this._timer = null;
      this._changed.emit();
    }, DRAW_MS);
  }

  private _timer: number | null = null;
  private _abort: AbortController | null = null;
  /** Resolves with the answer that begins, with null where the question was not taken. */
  private _begun: PromiseDelegate<IMessage | null> | null = null;
  private _isStopping = false;
  private _reading: Promise<void> | null = null;
  private _isDisposed = false;
  private _changed = new Signal<this, void>(this);
}
