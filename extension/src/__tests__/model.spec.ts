import { InlineCompletionTriggerKind } from '@jupyterlab/completer';
import { ServerConnection } from '@jupyterlab/services';
import { GhostText } from '../ghost/completer';
import { Context } from '../context/context';
import { Model } from '../model/model';
import { Failure } from '../protocol';
import { isAbort, Server } from '../api/request';
import { about, count, seconds, unbroken } from '../panel/format';
import { CHUNK, ScriptedServer } from './scripted';

const LOADING = {
  choices: [],
  mistral: { event: 'loading', stage: 'download', fraction: 0.5, eta_s: 3 }
};

describe('the model model', () => {
  it('shows how far a load is', async () => {
    const seen: (number | null | undefined)[] = [];
    const model = new Model(
      new ScriptedServer(
        () => ({ state: 'ready', model: { name: 'm', can: ['text'] } }),
        () => [LOADING]
      )
    );
    model.changed.connect(() => seen.push(model.progress?.fraction));
    await model.load('m', true);
    expect(seen).toContain(0.5);
    expect(model.progress).toBeNull();
    expect(model.isReady).toBe(true);
    expect(model.isBlind).toBe(true);
  });

  it('keeps why a load failed, over the next look at the status', async () => {
    const model = new Model(
      new ScriptedServer(
        () => ({ state: 'unloaded' }),
        () => [CHUNK.error('no_memory')].map(chunk => chunk)
      )
    );
    await model.load(null, false);
    expect(model.failure?.code).toBe('no_memory');
    await model.refresh();
    expect(model.failure?.code).toBe('no_memory');
  });

  it('forgets a server that was gone once it is back', async () => {
    let isGone = true;
    const model = new Model(
      new ScriptedServer(() => {
        if (isGone) {
          throw new Failure('server_gone', 'Gone.');
        }
        return { state: 'unloaded' };
      })
    );
    await model.refresh();
    expect(model.failure?.code).toBe('server_gone');
    expect(model.status).toBeNull();
    isGone = false;
    await model.refresh();
    expect(model.failure).toBeNull();
  });
});

describe('ghost text', () => {
  const request = (text: string): { text: string; offset: number } => ({
    text,
    offset: text.length
  });
  const texts = (...parts: string[]): unknown[] =>
    parts.map(text => ({ choices: [{ text, finish_reason: null }] }));

  it('grows', async () => {
    const ghost = new GhostText(
      'Mistral',
      new ScriptedServer(
        () => null,
        () => texts('num', 'py')
      ),
      { isReady: true }
    );
    const { items } = await ghost.fetch(request('import '), {} as never);
    expect(items[0]).toMatchObject({ insertText: 'num', isIncomplete: true });
    const seen = [];
    for await (const { response } of ghost.stream(items[0].token!)) {
      seen.push([response.insertText, response.isIncomplete]);
    }
    expect(seen).toEqual([
      ['numpy', true],
      ['numpy', false]
    ]);
  });

  it('of an older request is cancelled by a newer one', async () => {
    const server = new ScriptedServer(
      () => null,
      ({ signal }) =>
        (async function* () {
          yield* texts('a');
          await new Promise(resolve => setTimeout(resolve));
          signal!.throwIfAborted();
          yield* texts('never');
        })()
    );
    const ghost = new GhostText('Mistral', server, { isReady: true });
    const first = await ghost.fetch(request('x'), {} as never);
    const rest = ghost.stream(first.items[0].token!).next();
    await ghost.fetch(request('xy'), {} as never);
    const { value } = await rest;
    expect(server.sent[0].signal?.aborted).toBe(true);
    expect(value?.response).toMatchObject({
      insertText: 'a',
      isIncomplete: false
    });
    expect(value?.response.error).toBeUndefined();
  });

  it('leaves Tab to the completer until it has a word to show', async () => {
    let say = (): void => undefined;
    const said = new Promise<void>(resolve => {
      say = resolve;
    });
    const server = new ScriptedServer(
      () => null,
      () =>
        (async function* () {
          yield* texts('\n    ');
          await said;
          yield* texts('a');
        })()
    );
    const ghost = new GhostText('Mistral', server, { isReady: true });
    let isThere = false;
    const fetched = ghost.fetch(request('x'), {} as never).then(found => {
      isThere = true;
      return found;
    });
    await new Promise(resolve => setTimeout(resolve, 20));
    expect(server.sent.length).toBe(1);
    expect(isThere).toBe(false);
    say();
    expect((await fetched).items[0].insertText).toBe('\n    a');
    const invoked = { triggerKind: InlineCompletionTriggerKind.Invoke };
    const { items } = await ghost.fetch(request('x'), invoked as never);
    expect(items[0]).toMatchObject({ insertText: '', isIncomplete: true });
  });

  it('is not offered where one writes to the model', async () => {
    const server = new ScriptedServer(
      () => null,
      () => texts('a')
    );
    const ghost = new GhostText('Mistral', server, { isReady: true });
    for (const text of ['%%mistral\nwhy', 'x = 1\n%mistral fi', '%mistral ']) {
      const found = await ghost.fetch(request(text), {} as never);
      expect(found.items).toEqual([]);
    }
    expect(server.sent).toEqual([]);
    const code = await ghost.fetch(request('%mistral fix\nx'), {} as never);
    expect(code.items.length).toBe(0);
    const after = await ghost.fetch(request('x = 1 %mistral'), {} as never);
    expect(after.items.length).toBe(1);
  });

  it('never shows an error, and never loads a model', async () => {
    const busy = new ScriptedServer(
      () => null,
      () => {
        throw new Failure('busy', 'Busy.');
      }
    );
    const state = { isReady: true };
    const ghost = new GhostText('Mistral', busy, state);
    expect((await ghost.fetch(request('x'), {} as never)).items).toEqual([]);
    state.isReady = false;
    expect((await ghost.fetch(request('x'), {} as never)).items).toEqual([]);
    state.isReady = true;
    ghost.isEnabled = false;
    expect((await ghost.fetch(request('x'), {} as never)).items).toEqual([]);
    expect(busy.sent.length).toBe(1);
  });
});

describe('the context of a question', () => {
  const picture = {
    url: 'data:image/png;base64,AA==',
    width: 1,
    height: 1,
    name: 'p'
  };

  it('puts attachments into parts of their own and forgets them after', () => {
    const context = new Context(new ScriptedServer(() => null), null);
    context.attached.addFile('folder/a.csv', 'x,y');
    context.attached.addPicture(picture);
    context.instructions = ' Answer in French. ';
    expect(context.extras().instructions).toBe('Answer in French.');
    expect(context.content('Why?', 'Briefly.')).toEqual([
      'Why?',
      '\n\nThe file folder/a.csv:\n```\nx,y\n```',
      '\n\nBriefly.',
      { image_url: picture.url }
    ]);
    context.clear();
    expect(context.content('Why?')).toEqual(['Why?']);
    context.instructions = '';
    expect(context.extras()).toEqual({ client: 'panel', scope: 'none' });
  });

  it('refuses what is not text, too long or too many', () => {
    const context = new Context(new ScriptedServer(() => null), null);
    expect(() => context.attached.addFile('a.bin', 'a\u0000b')).toThrow(
      'not a text file'
    );
    expect(() =>
      context.attached.addFile('a.txt', 'a'.repeat(300_000))
    ).toThrow('300,000');
    for (let i = 0; i < 8; i++) {
      context.attached.addPicture(picture);
    }
    expect(() => context.attached.addPicture(picture)).toThrow('8 pictures');
  });

  it('counts each part exactly', async () => {
    const context = new Context(
      new ScriptedServer(() => ({
        tokens: 30,
        context_length: 100,
        ledger: [
          { segment: 'question', tokens: 4 },
          { segment: 'question', tokens: 9 }
        ],
        left_out: []
      })),
      null
    );
    context.attached.addFile('a.csv', 'x,y');
    await context.count('Why?', []);
    expect(context.ledger?.total).toBe(30);
    expect(context.chips().map(chip => chip.tokens)).toEqual([9]);
    expect(context.ledger?.isExact).toBe(true);
  });

  it('counts pictures for a model that sees, and what stood before as a chat sends it', async () => {
    const scripted = new ScriptedServer(() => ({
      tokens: 90,
      context_length: 100,
      ledger: [
        { segment: 'image', tokens: 7 },
        { segment: 'question', tokens: 1 },
        { segment: 'question', tokens: 4 },
        { segment: 'question', tokens: 9 },
        { segment: 'image', tokens: 20 },
        { segment: 'image', tokens: 30, cell: 2 }
      ],
      left_out: []
    }));
    const context = new Context(scripted, null);
    context.attached.addFile('a.csv', 'x,y');
    context.attached.addPicture(picture);
    const message = { id: 'u', state: 'done', created: 1 };
    const before = [
      { ...message, role: 'user', content: ['Seen?', { image_url: 'data:1' }] },
      { ...message, role: 'assistant', content: [] }
    ] as never[];
    await context.count('Why?', before, true, { max_tokens: 9 });
    const part = (url: string): object => ({
      type: 'image_url',
      image_url: { url }
    });
    const text = 'The file a.csv:\n```\nx,y\n```';
    expect(scripted.sent[0].body).toMatchObject({
      max_tokens: 9,
      messages: [
        {
          role: 'user',
          content: [{ type: 'text', text: 'Seen?' }, part('data:1')]
        },
        {
          role: 'user',
          content: [
            { type: 'text', text: 'Why?' },
            { type: 'text', text: `\n\n${text}` },
            part(picture.url)
          ]
        }
      ]
    });
    expect(context.chips().map(chip => chip.tokens)).toEqual([9, 20]);
    // of more than a request holds the oldest are words
    for (let i = 0; i < 7; i++) {
      context.attached.addPicture(picture);
    }
    await context.count('Why?', before, true);
    expect(JSON.stringify(scripted.sent[1].body)).toContain(
      'an earlier picture'
    );
    await context.count('Why?', before);
    expect(JSON.stringify(scripted.sent[2].body)).not.toContain('image');
    expect(context.chips()[1].tokens).toBeNull();
  });

  it('knows counts that are only estimated', async () => {
    const counted = { tokens: 3, ledger: [], counted: 'estimated' };
    const context = new Context(new ScriptedServer(() => counted), null);
    await context.count('Why?', []);
    expect(context.ledger?.isExact).toBe(false);
    expect(about(false) + count(1234)).toBe('≈1,234');
    expect(about(true)).toBe('');
  });
});

describe('the door to the network', () => {
  const reply = (status: number, body: string): ServerConnection.ISettings =>
    ServerConnection.makeSettings({
      baseUrl: 'http://server/',
      fetch: async () =>
        ({
          ok: status < 400,
          status,
          text: async () => body,
          body: new ReadableStream({
            start(controller) {
              controller.enqueue(new TextEncoder().encode(body));
              controller.close();
            }
          })
        }) as unknown as Response
    });
  const collect = async (
    settings: ServerConnection.ISettings
  ): Promise<unknown[]> => {
    const found = [];
    for await (const chunk of new Server(settings).stream('POST', '/x', {})) {
      found.push(chunk);
    }
    return found;
  };

  it('reads events up to [DONE]', async () => {
    const body =
      ': hello\n\ndata: {"a":1}\n\ndata: [DONE]\n\ndata: {"a":2}\n\n';
    expect(await collect(reply(200, body))).toEqual([{ a: 1 }]);
  });

  it('tells a stream that breaks off', async () => {
    await expect(
      collect(reply(200, 'data: {"a":1}\n\n'))
    ).rejects.toMatchObject({
      code: 'engine_died'
    });
  });

  it.each([
    [403, '<html>', 'unauthorized'],
    [404, '<html>', 'no_extension'],
    [500, '', 'internal'],
    [429, '{"error":{"code":"busy","message":"Busy.","todo":""}}', 'busy']
  ])('tells a %d as a sentence', async (status, body, code) => {
    await expect(
      new Server(reply(status, body)).ask('GET', '/x')
    ).rejects.toMatchObject({ code });
  });

  it('tells a server that is gone, and leaves an abort alone', async () => {
    const gone = ServerConnection.makeSettings({
      fetch: async () => {
        throw new TypeError('Failed to fetch');
      }
    });
    await expect(new Server(gone).ask('GET', '/x')).rejects.toMatchObject({
      code: 'server_gone'
    });
    const abort = new AbortController();
    abort.abort();
    const aborted = ServerConnection.makeSettings({
      fetch: async () => {
        throw new DOMException('Aborted', 'AbortError');
      }
    });
    const error = await new Server(aborted)
      .ask('GET', '/x', undefined, abort.signal)
      .catch((caught: unknown) => caught);
    expect(error).not.toBeInstanceOf(Failure);
    expect(isAbort(error) || error instanceof Error).toBe(true);
  });
});

describe('numbers', () => {
  it('stay on the line of their unit', () => {
    for (const text of [
      ...[0, 12, 400].map(seconds),
      unbroken('first after 0.0 s')
    ]) {
      expect(text).not.toContain(' ');
    }
    expect(seconds(0)).toBe('0.0\u00a0s');
  });
});
