/** A server that answers from a script: the real interface, no network. */
import { IServer } from '../api/request';

export interface ISent {
  method: string;
  path: string;
  body: unknown;
  signal?: AbortSignal;
}

type Answer = (sent: ISent) => unknown;
type Chunks = (sent: ISent) => AsyncIterable<unknown> | Iterable<unknown>;

export class ScriptedServer implements IServer {
  sent: ISent[] = [];

  constructor(
    private _answer: Answer,
    private _chunks: Chunks = () => []
  ) {}

  async ask(
    method: string,
    path: string,
    body?: unknown,
    signal?: AbortSignal
  ): Promise<unknown> {
    const sent = { method, path, body, signal };
    this.sent.push(sent);
    return this._answer(sent);
  }

  async *stream(
    method: string,
    path: string,
    body?: unknown,
    signal?: AbortSignal
  ): AsyncGenerator<unknown> {
    const sent = { method, path, body, signal };
    this.sent.push(sent);
    yield* this._chunks(sent);
  }
}

export const CHUNK = {
  first: {
    choices: [],
    mistral: {
      event: 'message',
      user: { id: 'u1', role: 'user', content: ['Why?'], state: 'done' },
      assistant: {
        id: 'a1',
        role: 'assistant',
        content: [],
        state: 'streaming'
      },
      title: 'Why?',
      saved: true
    }
  },
  text: (text: string) => ({
    choices: [{ index: 0, delta: { content: text }, finish_reason: null }]
  }),
  end: (reason = 'stop') => ({
    choices: [{ index: 0, delta: {}, finish_reason: reason }],
    usage: { prompt_tokens: 5, completion_tokens: 2 }
  }),
  error: (code: string) => ({
    error: { code, message: `It broke. Do this.`, todo: 'Do this.' }
  })
};
