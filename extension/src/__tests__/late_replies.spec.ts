/** Replies of the server and the kernel that arrive late, twice or in another order. */
import { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { Signal } from '@lumino/signaling';
import { Chat } from '../chat/chat';
import { IQuestion } from '../chat/turn';
import { Chats } from '../chat/chats';
import { Context } from '../context/context';
import { Model } from '../model/model';
import { readFigures, readVariables } from '../notebook/kernel';
import { textOf } from '../chat/message';
import { Failure } from '../api/protocol';
import { CHUNK, ISent, ScriptedServer } from './scripted';

const WHY: IQuestion = { content: ['Why?'], extras: { client: 'panel' } };
const { user: QUESTION, assistant: ANSWER } = CHUNK.first.mistral;
const BEFORE = [
  { id: 'u0', role: 'user', content: ['Before?'], state: 'done' },
  { id: 'a0', role: 'assistant', content: ['Yes.'], state: 'done' }
];

/** A promise that the test settles. */
class Gate<T = void> {
  readonly promise: Promise<T>;
  open!: (value: T) => void;
  fail!: (error: Error) => void;

  constructor() {
    this.promise = new Promise((resolve, reject) => {
      [this.open, this.fail] = [resolve, reject];
    });
  }
}

const settled = (): Promise<void> => new Promise(done => setTimeout(done, 5));
const texts = (chat: Chat): string[] => chat.messages.map(textOf);

describe('a chat that is still being read', () => {
  it('keeps a question that was asked meanwhile', async () => {
    const read = new Gate<unknown>();
    const end = new Gate();
    const server = new ScriptedServer(
      () => read.promise,
      async function* () {
        yield CHUNK.first;
        yield CHUNK.text('Be');
        await end.promise;
        yield CHUNK.text('cause.');
        yield CHUNK.end();
      }
    );
    const chat = new Chat(server, 'c1');
    const loaded = chat.load();
    const asked = chat.ask(WHY);
    await settled();
    read.open({ title: 'T', messages: BEFORE });
    await settled();
    expect(texts(chat)).toEqual(['Before?', 'Yes.', 'Why?', 'Be']);
    end.open();
    await Promise.all([loaded, asked]);
    expect(texts(chat)).toEqual(['Before?', 'Yes.', 'Why?', 'Because.']);
    expect(chat.messages[3].state).toBe('done');
  });

  it('accepts a question although the chat could not be read', async () => {
    const read = new Gate<unknown>();
    const server = new ScriptedServer(
      () => read.promise,
      () => [CHUNK.first, CHUNK.text('So.'), CHUNK.end()]
    );
    const chat = new Chat(server, 'c1');
    const loaded = expect(chat.load()).rejects.toMatchObject({ code: 'gone' });
    const asked = chat.ask(WHY);
    read.fail(new Failure('gone', 'Gone.'));
    await Promise.all([loaded, asked]);
    expect(texts(chat)).toEqual(['Why?', 'So.']);
  });

  it('is read once, and its answer followed once', async () => {
    const reads = [new Gate<unknown>(), new Gate<unknown>()];
    let asked = 0;
    const end = new Gate();
    const server = new ScriptedServer(
      () => reads[asked++].promise,
      async function* () {
        yield CHUNK.text('Be');
        await end.promise;
        yield CHUNK.text('cause.');
        yield CHUNK.end();
      }
    );
    const chat = new Chat(server, 'c1');
    const loads = [chat.load(), chat.load()];
    reads[0].open({ title: 'T', messages: [QUESTION, ANSWER] });
    await settled();
    reads[1].open({ title: 'T', messages: [QUESTION, ANSWER] });
    await Promise.all(loads);
    end.open();
    await settled();
    expect(texts(chat)).toEqual(['Why?', 'Because.']);
    expect(chat.messages[1].state).toBe('done');
    expect(server.sent.map(sent => sent.path)).toEqual([
      '/api/chats/c1',
      '/api/chats/c1/messages/a1/stream'
    ]);
  });

  it('is not followed once another chat is shown', async () => {
    const read = new Gate<unknown>();
    const server = new ScriptedServer(() => read.promise);
    const chat = new Chat(server, 'c1');
    const loaded = chat.load();
    chat.dispose();
    read.open({ title: 'T', messages: [QUESTION, ANSWER] });
    await loaded;
    await settled();
    expect(server.sent.length).toBe(1);
  });

  it('stays busy with a question asked while a finished answer is read', async () => {
    const read = new Gate<unknown>();
    const end = new Gate();
    let reads = 0;
    const server = new ScriptedServer(
      () =>
        reads++
          ? read.promise
          : { title: 'T', messages: [QUESTION, { ...ANSWER, id: 'a0' }] },
      async function* ({ method }) {
        if (method === 'GET') {
          throw new Failure('not_found', 'It has ended.');
        }
        yield CHUNK.first;
        await end.promise;
        yield CHUNK.text('New.');
        yield CHUNK.end();
      }
    );
    const chat = new Chat(server, 'c1');
    await chat.load();
    await settled();
    const asked = chat.ask(WHY);
    read.open({ title: 'T', messages: BEFORE });
    await settled();
    expect(chat.isBusy).toBe(true);
    end.open();
    await asked;
    expect(texts(chat)).toEqual(['Before?', 'Yes.', 'Why?', 'New.']);
    expect(chat.isBusy).toBe(false);
  });

  it('says why a finished answer could not be read', async () => {
    let reads = 0;
    const server = new ScriptedServer(
      () => {
        if (reads++) {
          throw new Failure('server_gone', 'Gone.');
        }
        return { title: 'T', messages: [QUESTION, ANSWER] };
      },
      () => {
        throw new Failure('not_found', 'It has ended.');
      }
    );
    const chat = new Chat(server, 'c1');
    await chat.load();
    await settled();
    expect(chat.messages[1].state).toBe('interrupted');
    expect(chat.messages[1].failure?.code).toBe('server_gone');
  });

  it('sends a question only after messages have been deleted', async () => {
    const gone = new Gate<unknown>();
    const server = new ScriptedServer(
      ({ method }) =>
        method === 'DELETE' ? gone.promise : { title: 'T', messages: BEFORE },
      () => [CHUNK.first, CHUNK.text('So.'), CHUNK.end()]
    );
    const chat = new Chat(server, 'c1');
    await chat.load();
    const removed = chat.remove(chat.messages[0]);
    const asked = chat.ask(WHY);
    await settled();
    gone.open({ title: 'T', messages: [] });
    await Promise.all([removed, asked]);
    expect(texts(chat)).toEqual(['Why?', 'So.']);
  });
});

describe('lists and states that arrive in another order', () => {
  const memory = { getItem: () => null, setItem() {}, removeItem() {} };
  const row = (id: string, messages = 0): object => ({
    id,
    title: id,
    updated: 9,
    messages,
    notebook: null
  });

  it('show the newest list of chats', async () => {
    const lists = [new Gate<unknown>(), new Gate<unknown>()];
    let asked = 0;
    const server = new ScriptedServer(() => lists[asked++].promise);
    const chats = new Chats(server, memory, () => null);
    const first = chats.search('a');
    const second = chats.search('ab');
    lists[1].open({ chats: [row('ab')] });
    await second;
    lists[0].open({ chats: [row('a'), row('ab')] });
    await first;
    expect(chats.rows.map(r => r.id)).toEqual(['ab']);
  });

  it('keep a chat with a question newer than the list', async () => {
    const list = new Gate<unknown>();
    const server = new ScriptedServer(
      ({ method, path }: ISent) =>
        method === 'POST'
          ? { id: 'c1' }
          : path === '/api/chats'
            ? list.promise
            : { title: 'T', messages: [] },
      () => [CHUNK.first, CHUNK.text('So.'), CHUNK.end()]
    );
    const chats = new Chats(server, memory, () => null);
    const refreshed = chats.refresh();
    await chats.current.ask(WHY);
    list.open({ chats: [row('c1')] });
    await refreshed;
    expect(texts(chats.current)).toEqual(['Why?', 'So.']);
  });

  it('show the newest state of the model', async () => {
    const states = [new Gate<unknown>(), new Gate<unknown>()];
    let asked = 0;
    const server = new ScriptedServer(() => states[asked++].promise);
    const model = new Model(server);
    const looks = [model.refresh(), model.refresh()];
    states[1].open({ state: 'ready' });
    await looks[1];
    states[0].fail(new Failure('server_gone', 'Gone.'));
    await looks[0];
    expect(model.status?.state).toBe('ready');
    expect(model.failure).toBeNull();
  });
});

/** A kernel whose replies the test gives. */
class Kernel {
  status = 'idle';
  statusChanged = new Signal<this, string>(this);
  asked: Gate<unknown>[] = [];

  be(status: string): void {
    this.status = status;
    this.statusChanged.emit(status);
  }

  requestExecute(): object {
    const gate = new Gate<unknown>();
    this.asked.push(gate);
    this.be('busy');
    return { done: gate.promise, dispose: () => undefined };
  }

  /** Answers request number `at`; JupyterLab signals the idle kernel only after the reply. */
  async answer(at: number, value: unknown): Promise<void> {
    const text = `'${JSON.stringify(value)}'`;
    this.asked[at].open({
      content: {
        user_expressions: { value: { data: { 'text/plain': text } } }
      }
    });
    await settled();
    this.be('idle');
    await settled();
  }
}

describe('a kernel', () => {
  const VARIABLES = [{ name: 'x', type: 'int', summary: '1' }];
  const panelOf = (kernel: Kernel): NotebookPanel =>
    ({
      content: { model: {} },
      isDisposed: false,
      sessionContext: { session: { kernel } }
    }) as unknown as NotebookPanel;

  it('that is busy with our own request is waited for', async () => {
    const kernel = new Kernel();
    const panel = panelOf(kernel);
    const variables = readVariables(panel);
    await settled();
    const figures = readFigures(panel, 1);
    await kernel.answer(0, VARIABLES);
    await kernel.answer(1, ['a line']);
    expect(await variables).toEqual(VARIABLES);
    expect(await figures).toEqual(['a line']);
  });

  it('that dies during a request is not an error', async () => {
    const kernel = new Kernel();
    const variables = readVariables(panelOf(kernel));
    await settled();
    kernel.asked[0].fail(new Error('Canceled future'));
    expect(await variables).toBeNull();
  });

  it('that is busy or dead gets no request', async () => {
    jest.useFakeTimers();
    const kernel = new Kernel();
    kernel.be('busy');
    const variables = readVariables(panelOf(kernel));
    await jest.advanceTimersByTimeAsync(60_000);
    expect(await variables).toBeNull();
    kernel.be('dead');
    expect(await readVariables(panelOf(kernel))).toBeNull();
    expect(kernel.asked).toEqual([]);
    jest.useRealTimers();
  });

  it('keeps its variables while it is busy, and only its own', async () => {
    const kernel = new Kernel();
    const tracker = {
      currentWidget: panelOf(kernel),
      currentChanged: new Signal<unknown, void>({}),
      activeCellChanged: new Signal<unknown, void>({}),
      selectionChanged: new Signal<unknown, void>({})
    };
    const context = new Context(
      new ScriptedServer(() => null),
      tracker as unknown as INotebookTracker
    );
    const read = context.variables.read();
    await settled();
    await kernel.answer(0, VARIABLES);
    await kernel.answer(1, null);
    await read;
    expect(context.variables.all).toEqual(VARIABLES);
    jest.useFakeTimers();
    kernel.be('busy');
    const again = context.variables.read();
    await jest.advanceTimersByTimeAsync(60_000);
    await again;
    jest.useRealTimers();
    expect(context.variables.all).toEqual(VARIABLES);
    tracker.currentWidget = panelOf(new Kernel());
    tracker.currentChanged.emit();
    expect(context.variables.all).toEqual([]);
  });
});
