/** One conversation: its messages and the answer that streams in. No DOM, no notebook. */
import { PromiseDelegate } from '@lumino/coreutils';
import { ISignal, Signal } from '@lumino/signaling';
import { IServer, isAbort, toFailure } from '../api/request';
import {
  asList,
  asRecord,
  asText,
  ChatEvent,
  eventOf,
  Failure
} from '../api/protocol';
import { trans } from '../translation';
import { ChatApi } from './chat_api';
import { IMessage, messageOf, textOf } from './message';
import { answerOf, bodyOf, IQuestion, messagesAbove } from './turn';

/** The shortest time between two redraws of a growing answer. */
const DRAW_MS = 60;

export class Chat {
  /** `id` is null until the server has created the chat, with its first question. */
  constructor(
    server: IServer,
    id: string | null = null,
    public title = '',
    notebook: () => string | null = () => null
  ) {
    this._api = new ChatApi(server, id, notebook);
  }

  messages: IMessage[] = [];
  /** What the answer waits for before its first text: its queue position, the model or prefill. */
  progress: ChatEvent | null = null;
  /** False while the server cannot write to its disk. */
  isSaved = true;
  /** Incremented when a question begins and when its answer ends, so that older copies of the chat are recognized. */
  turns = 0;

  get id(): string | null {
    return this._api.id;
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get isBusy(): boolean {
    return this._abort !== null;
  }

  /** Stop was pressed before the server began an answer. */
  get isStopping(): boolean {
    return this._isStopping;
  }

  /** Reads the chat from the server and follows an answer in progress (of another tab, or from before a reload). */
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
   * Asks a question and streams its answer; resolves when the answer has ended. `replaces` is the message from which
   * on this turn replaces the chat. Throws a `Failure` if the server rejects the question.
   */
  async ask(
    question: IQuestion,
    replaces: string | null = null
  ): Promise<void> {
    if (this.isBusy) {
      throw new Failure(
        'busy',
        trans.__('An answer is still in progress in this chat.'),
        trans.__('Wait for it or stop it.')
      );
    }
    const begun = (this._begun = new PromiseDelegate());
    const isNew = this.id === null;
    const signal = this._start();
    let answer: IMessage | null = null;
    try {
      for await (const chunk of this._stream(question, replaces, signal)) {
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
        if (isNew && !this._isDisposed) {
          await this._api.discard();
        }
        throw isAbort(error) ? null : toFailure(error);
      }
      this._fail(answer, error);
    } finally {
      begun.resolve(null);
      this._finish();
    }
  }

  /** Stops the answer in progress, which frees the model within a token. */
  async stop(): Promise<void> {
    let answer = this.messages.find(m => m.state === 'streaming') ?? null;
    if (!answer && this._begun && !this._isStopping) {
      // the server's first event names the answer to stop; a second press of Stop does not wait for it
      this._isStopping = true;
      this._changed.emit();
      answer = await this._begun.promise;
      if (!answer) {
        return; // the question was rejected: nothing to stop
      }
    }
    if (!answer || this.id === null) {
      this._abort?.abort();
      return;
    }
    // the stream then ends by itself, with what the server has kept
    try {
      await this._api.stop(answer.id);
    } catch (error) {
      this._abort?.abort();
      throw toFailure(error);
    }
  }

  /** Asks the same question again and drops everything below it. */
  regenerate(
    message: IMessage,
    question: Omit<IQuestion, 'content'>
  ): Promise<void> {
    return this.ask({ ...question, content: [] }, message.id);
  }

  /** Removes the message and everything below it. */
  remove(message: IMessage): Promise<void> {
    return this._inTurn(async () =>
      this._take(await this._api.deleteFrom(message.id))
    );
  }

  async rename(title: string): Promise<void> {
    await this._api.create(this.title);
    await this._api.rename(title);
    this.title = title;
    this._changed.emit();
  }

  /** Closes the stream; the server continues the answer for other readers. */
  dispose(): void {
    this._isDisposed = true;
    this._abort?.abort();
    if (this._timer !== null) {
      clearTimeout(this._timer);
    }
    Signal.clearData(this);
  }

  private _start(): AbortSignal {
    this._abort = new AbortController();
    this.progress = null;
    this.turns++;
    this._changed.emit();
    return this._abort.signal;
  }

  private async *_stream(
    question: IQuestion,
    replaces: string | null,
    signal: AbortSignal
  ): AsyncGenerator<unknown> {
    // messages that are being read belong above the question
    await this._reading?.catch(() => undefined);
    await this._api.create(this.title);
    yield* this._api.ask(bodyOf(question, replaces), signal);
  }

  /** Runs one read after the other: two at a time would each replace the messages of the other. */
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
    return (
      this._reading ??
      this._inTurn(async () => this._take(await this._api.read()))
    );
  }

  private _take(chat: unknown): void {
    const data = asRecord(chat);
    this.title = asText(data.title);
    this.isSaved = data.saved !== false;
    this.messages = asList(data.messages).map(messageOf);
    this._changed.emit();
  }

  /** Takes the first chunk: question and answer as the server stored them. */
  private _begin(
    first: Record<string, unknown>,
    question: IQuestion,
    replaces: string | null
  ): IMessage {
    const answer = answerOf(first);
    const { content } = question;
    this.messages = [
      ...messagesAbove(this.messages, first, content, replaces),
      answer
    ];
    this.title ||= asText(first.title);
    question.onBegin?.(answer);
    this._changed.emit();
    return answer;
  }

  /** Applies one chunk; returns false at the end. Throws the `Failure` of an error chunk. */
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
          trans.__('The answer reached the length limit.'),
          trans.__('Ask it to continue.')
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
    let isOver = false;
    try {
      let isFirst = true;
      for await (const chunk of this._api.follow(answer.id, abort.signal)) {
        // the first piece repeats the text so far
        if (isFirst && eventOf(chunk)?.type === 'delta') {
          answer.content = [];
          isFirst = false;
        }
        if (!this._apply(chunk, answer)) {
          break;
        }
      }
    } catch (error) {
      isOver = toFailure(error).code === 'not_found';
      if (isOver) {
        answer.state = 'interrupted';
      } else {
        this._fail(answer, error);
      }
    }
    this._finish();
    if (isOver && !this._isDisposed) {
      await this._reload(answer);
    }
  }

  /** Reads an answer that ended after the chat was read and before its stream was opened. */
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

  private _api: ChatApi;
  private _timer: number | null = null;
  private _abort: AbortController | null = null;
  /** Resolves with the answer once it begins, or with null if the question was rejected. */
  private _begun: PromiseDelegate<IMessage | null> | null = null;
  private _isStopping = false;
  private _reading: Promise<void> | null = null;
  private _isDisposed = false;
  private _changed = new Signal<this, void>(this);
}
