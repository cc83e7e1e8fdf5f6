import { PromiseDelegate } from '@lumino/coreutils';
import { readFileSync, writeFileSync } from 'fs';
import { join } from 'path';
import { Chat, IQuestion } from '../chat/chat';
import { textOf } from '../chat/message';
import { Chats, IMemory } from '../chat/chats';
import { GhostText } from '../ghost/completer';
import { Failure } from '../protocol';
import { CHUNK, ISent, ScriptedServer } from './scripted';

const WHY: IQuestion = { content: ['Why?'], extras: { client: 'panel' } };

function server(
  chunks: (sent: ISent) => AsyncIterable<unknown> | Iterable<unknown>,
  answer: (sent: ISent) => unknown = () => ({ id: 'c1' })
): ScriptedServer {
  return new ScriptedServer(answer, chunks);
}

describe('a chat', () => {
  it('streams an answer in', async () => {
    const chat = new Chat(
      server(() => [
        CHUNK.first,
        CHUNK.text('Be'),
        CHUNK.text('cause.'),
        CHUNK.end()
      ])
    );
    await chat.ask(WHY);
    expect(chat.messages.map(m => [m.role, textOf(m), m.state])).toEqual([
      ['user', 'Why?', 'done'],
      ['assistant', 'Because.', 'done']
    ]);
    expect(chat.title).toBe('Why?');
    expect(chat.isBusy).toBe(false);
    expect(chat.messages[1].usage?.completion_tokens).toBe(2);
  });

  it('shows progress until the first text', async () => {
    const seen: (string | undefined)[] = [];
    const chat = new Chat(
      server(() => [
        CHUNK.first,
        { choices: [], mistral: { event: 'queued', position: 1 } },
        { choices: [], mistral: { event: 'reading', done: 1, total: 2 } },
        CHUNK.text('x'),
        CHUNK.end()
      ])
    );
    chat.changed.connect(() => seen.push(chat.progress?.type));
    await chat.ask(WHY);
    expect(seen.filter(Boolean)).toEqual(['queued', 'reading']);
    expect(chat.progress).toBeNull();
  });

  it('keeps what came before a failure and says what happened', async () => {
    const chat = new Chat(
      server(() => [
        CHUNK.first,
        CHUNK.text('Half'),
        CHUNK.error('engine_died')
      ])
    );
    await chat.ask(WHY);
    const [, answer] = chat.messages;
    expect([textOf(answer), answer.state]).toEqual(['Half', 'interrupted']);
    expect(answer.failure).toMatchObject({
      message: 'It broke.',
      todo: 'Do this.'
    });
  });

  it('throws a question back that the server did not take', async () => {
    const chat = new Chat(
      server(() => {
        throw new Failure('busy', 'Not now.');
      })
    );
    await expect(chat.ask(WHY)).rejects.toMatchObject({ code: 'busy' });
    expect(chat.messages).toEqual([]);
    expect(chat.isBusy).toBe(false);
  });

  it('leaves no empty chat behind where its first question was not taken', async () => {
    const scripted = server(
      () => {
        throw new Failure('too_large', 'It is too long.');
      },
      ({ method }) => (method === 'POST' ? { id: 'c1' } : {})
    );
    const chat = new Chat(scripted);
    await expect(chat.ask(WHY)).rejects.toMatchObject({ code: 'too_large' });
    expect(scripted.sent.map(({ method, path }) => [method, path])).toEqual([
      ['POST', '/api/chats'],
      ['POST', '/api/chats/c1/ask'],
      ['DELETE', '/api/chats/c1']
    ]);
    expect(chat.id).toBeNull();
    // one that was there before stays
    const known = new Chat(scripted, 'c1');
    await expect(known.ask(WHY)).rejects.toMatchObject({ code: 'too_large' });
    expect(scripted.sent.length).toBe(4);
  });

  it('uses an empty chat that could not be deleted for the next question', async () => {
    const scripted = server(
      () => {
        throw new Failure('server_gone', 'Gone.');
      },
      ({ method }) => {
        if (method === 'DELETE') {
          throw new Failure('server_gone', 'Gone.');
        }
        return { id: 'c1' };
      }
    );
    const chat = new Chat(scripted);
    await expect(chat.ask(WHY)).rejects.toMatchObject({ code: 'server_gone' });
    expect(chat.id).toBe('c1');
  });

  it('leaves a question to the server that the user turned away from', async () => {
    const scripted = server(async function* ({ signal }) {
      await new Promise((_, reject) =>
        signal?.addEventListener('abort', () =>
          reject(new DOMException('Left.', 'AbortError'))
        )
      );
      yield CHUNK.first;
    });
    const chat = new Chat(scripted);
    const asked = chat.ask(WHY);
    await new Promise(resolve => setTimeout(resolve));
    chat.dispose();
    await expect(asked).rejects.toBeNull();
    expect(scripted.sent.map(({ method }) => method)).toEqual(['POST', 'POST']);
  });

  it('stops through the server and ends as the server says', async () => {
    let tellStopped: () => void = () => undefined;
    const stopped = new Promise<void>(resolve => (tellStopped = resolve));
    const scripted = server(
      async function* () {
        yield CHUNK.first;
        yield CHUNK.text('Half');
        await stopped;
        yield CHUNK.error('cancelled');
      },
      ({ path }) => {
        if (path.endsWith('/stop')) {
          tellStopped();
        }
        return { id: 'c1' };
      }
    );
    const chat = new Chat(scripted);
    const asked = chat.ask(WHY);
    await new Promise(resolve => setTimeout(resolve));
    expect(chat.isBusy).toBe(true);
    await chat.stop();
    await asked;
    expect(scripted.sent[scripted.sent.length - 1].path).toBe(
      '/api/chats/c1/messages/a1/stop'
    );
    expect(chat.messages[1].state).toBe('interrupted');
    expect(chat.messages[1].failure?.code).toBe('cancelled');
  });

  it('stops an answer that had not begun as soon as it begins', async () => {
    const goesOn = new PromiseDelegate<void>();
    const stopped = new PromiseDelegate<void>();
    const scripted = server(
      async function* () {
        await goesOn.promise;
        yield CHUNK.first;
        await stopped.promise;
        yield CHUNK.error('cancelled');
      },
      ({ path }) => {
        if (path.endsWith('/stop')) {
          stopped.resolve();
        }
        return { id: 'c1' };
      }
    );
    const chat = new Chat(scripted);
    const asked = chat.ask(WHY);
    const told = chat.stop();
    expect([chat.isBusy, chat.isStopping]).toEqual([true, true]);
    goesOn.resolve();
    await told;
    await asked;
    expect(scripted.sent[2].path).toBe('/api/chats/c1/messages/a1/stop');
    expect(chat.messages.map(m => m.state)).toEqual(['done', 'interrupted']);
    expect([chat.isBusy, chat.isStopping]).toEqual([false, false]);
  });

  it('does not wait for a server that is silent when Stop is pressed again', async () => {
    const scripted = server(async function* ({ signal }) {
      await new Promise((_, reject) =>
        signal?.addEventListener('abort', () =>
          reject(new DOMException('Left.', 'AbortError'))
        )
      );
      yield CHUNK.first;
    });
    const chat = new Chat(scripted, 'c1');
    const asked = chat.ask(WHY);
    await new Promise(resolve => setTimeout(resolve));
    const told = chat.stop();
    await chat.stop();
    await expect(asked).rejects.toBeNull();
    await told;
    expect(scripted.sent.length).toBe(1);
    expect(chat.isStopping).toBe(false);
  });

  it('regenerates in the place of the old answer', async () => {
    const chat = new Chat(
      server(() => [CHUNK.first, CHUNK.text('One'), CHUNK.end()])
    );
    await chat.ask(WHY);
    const again = server(() => [
      {
        choices: [],
        mistral: {
          ...CHUNK.first.mistral,
          assistant: { ...CHUNK.first.mistral.assistant, id: 'a2' }
        }
      },
      CHUNK.text('Two'),
      CHUNK.end()
    ]);
    (chat as unknown as { _server: ScriptedServer })._server = again;
    await chat.regenerate(chat.messages[1], { extras: {} });
    expect(chat.messages.map(m => [m.id, textOf(m)])).toEqual([
      ['u1', 'Why?'],
      ['a2', 'Two']
    ]);
    expect(again.sent[0].body).toMatchObject({ content: [], replaces: 'a1' });
  });

  it('follows an answer that began before the page was loaded', async () => {
    const scripted = server(
      () => [CHUNK.text('So far'), CHUNK.text(', and on.'), CHUNK.end()],
      () => ({
        id: 'c1',
        title: 'Why?',
        messages: [
          CHUNK.first.mistral.user,
          { ...CHUNK.first.mistral.assistant, content: ['So f'] }
        ]
      })
    );
    const chat = new Chat(scripted, 'c1');
    await chat.load();
    await new Promise(resolve => setTimeout(resolve));
    expect(textOf(chat.messages[1])).toBe('So far, and on.');
    expect(chat.messages[1].state).toBe('done');
    expect(scripted.sent[1]).toMatchObject({
      method: 'GET',
      path: '/api/chats/c1/messages/a1/stream'
    });
  });

  it('says when the disk does not keep it', async () => {
    const chat = new Chat(
      server(() => [
        CHUNK.first,
        { choices: [], mistral: { event: 'saved', saved: false } },
        CHUNK.end()
      ])
    );
    await chat.ask(WHY);
    expect(chat.isSaved).toBe(false);
  });
});

describe('chats', () => {
  const memory = (): IMemory & { values: Map<string, string> } => {
    const values = new Map<string, string>();
    return {
      values,
      getItem: key => values.get(key) ?? null,
      setItem: (key, value) => void values.set(key, value),
      removeItem: key => void values.delete(key)
    };
  };
  const ROWS = [
    { id: 'c2', title: 'New', updated: 2, messages: 0, notebook: null },
    { id: 'c1', title: 'Old', updated: 1, messages: 0, notebook: 'a.ipynb' }
  ];
  const answer = ({ path }: ISent): unknown =>
    path.startsWith('/api/chats/')
      ? { id: path.slice(11), title: 'T', messages: [] }
      : { chats: ROWS };

  it('open the one that this tab had open', async () => {
    const kept = memory();
    kept.setItem('jupyter-mistral:chat', 'c1');
    const chats = new Chats(new ScriptedServer(answer), kept, () => null);
    await chats.restore();
    expect(chats.current.id).toBe('c1');
  });

  it('open the newest in a new tab', async () => {
    const chats = new Chats(new ScriptedServer(answer), memory(), () => null);
    await chats.restore();
    expect(chats.current.id).toBe('c2');
    expect(chats.rows.length).toBe(2);
  });

  it('leave a chat alone that the user began meanwhile', async () => {
    const chats = new Chats(new ScriptedServer(answer), memory(), () => null);
    const restored = chats.restore();
    chats.start();
    await restored;
    expect(chats.current.id).toBeNull();
  });

  it('show a chat that was begun before the panel showed', async () => {
    const chats = new Chats(new ScriptedServer(answer), memory(), () => null);
    chats.start();
    await chats.restore();
    expect(chats.current.id).toBeNull();
  });

  it('tell of a chat that the user begins, not of one that takes the place of a deleted one', async () => {
    const chats = new Chats(new ScriptedServer(answer), memory(), () => null);
    let begun = 0;
    chats.started.connect(() => begun++);
    await chats.restore();
    await chats.remove('c2');
    expect([chats.current.id, begun]).toEqual([null, 0]);
    chats.start();
    expect(begun).toBe(1);
  });

  it('start empty and are told to the server with the first question', async () => {
    const scripted = new ScriptedServer(
      ({ method }) => (method === 'POST' ? { id: 'c9' } : { chats: [] }),
      () => [CHUNK.first, CHUNK.end()]
    );
    const chats = new Chats(scripted, memory(), () => 'a.ipynb');
    chats.start();
    expect(scripted.sent).toEqual([]);
    await chats.current.ask(WHY);
    expect(scripted.sent[0]).toMatchObject({
      method: 'POST',
      path: '/api/chats',
      body: { notebook: 'a.ipynb' }
    });
    expect(chats.current.id).toBe('c9');
  });

  it('tell a server that is gone as a failure', async () => {
    const chats = new Chats(
      new ScriptedServer(() => {
        throw new Failure('server_gone', 'Gone.');
      }),
      memory(),
      () => null
    );
    await chats.refresh();
    expect(chats.failure?.code).toBe('server_gone');
  });
});

it('asks in words that the Python side understands (tests/samples/requests.json)', async () => {
  const scripted = server(() => [CHUNK.first, CHUNK.end()]);
  const chat = new Chat(scripted, 'c1');
  await chat.ask(
    {
      content: [
        'Fix [cell 3]',
        '\n\nThe last error, in [cell 3]:\n```text\nNameError\n```',
        { image_url: 'data:image/png;base64,iVBORw0KGgo=' }
      ],
      extras: {
        client: 'panel',
        scope: 'notebook',
        focus: 3,
        notebook: {
          cells: [
            { cell_type: 'code', source: 'x', metadata: {}, outputs: [] }
          ],
          language: 'python',
          path: 'a.ipynb'
        },
        variables: [{ name: 'df', type: 'DataFrame', summary: '3 rows' }]
      },
      sampling: { max_tokens: 1024, temperature: 0.15 }
    },
    'm1'
  );
  await chat.regenerate(chat.messages[1], {
    extras: { client: 'panel' }
  });
  const ghost = new GhostText('Mistral', scripted, { isReady: true });
  const { items } = await ghost.fetch(
    { text: 'import ', offset: 7 },
    {} as never
  );
  expect(items).toEqual([]);
  const asks = scripted.sent.filter(sent => sent.path.endsWith('/ask'));
  const requests = {
    ask: asks[0].body,
    regenerate: asks[1].body,
    complete: scripted.sent.find(sent => sent.path === '/v1/completions')?.body,
    count: {
      messages: [
        { role: 'user', content: 'Why?' },
        { role: 'assistant', content: 'Because.' },
        { role: 'user', content: [{ type: 'text', text: '?' }] }
      ],
      mistral: {
        client: 'panel',
        scope: 'notebook',
        notebook: { cells: [], language: 'python', path: '' }
      }
    }
  };
  const file = join(__dirname, '../../../tests/samples/requests.json');
  if (process.env.WRITE_SAMPLES) {
    writeFileSync(file, JSON.stringify(requests, null, 1) + '\n');
  }
  expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual(
    JSON.parse(JSON.stringify(requests))
  );
});
