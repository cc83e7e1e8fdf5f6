import { PromiseDelegate } from '@lumino/coreutils';
import { readFileSync, writeFileSync } from 'fs';
import { join } from 'path';
import { Chat } from '../chat/chat';
import { IQuestion } from '../chat/turn';
import { textOf } from '../chat/message';
import { GhostText } from '../ghost/completer';
import { Failure } from '../api/protocol';
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

  it('keeps the text before a failure and says what failed', async () => {
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

  it('throws the failure of a rejected question', async () => {
    const chat = new Chat(
      server(() => {
        throw new Failure('busy', 'Not now.');
      })
    );
    await expect(chat.ask(WHY)).rejects.toMatchObject({ code: 'busy' });
    expect(chat.messages).toEqual([]);
    expect(chat.isBusy).toBe(false);
  });

  it('deletes a new chat whose first question was rejected', async () => {
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
    // a chat that existed before is kept
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

  it('leaves the question to the server when the user opens another chat', async () => {
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

  it('stops through the server, whose stream ends the answer', async () => {
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

  it('stops an answer that has not begun as soon as it begins', async () => {
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
    const stopping = chat.stop();
    expect([chat.isBusy, chat.isStopping]).toEqual([true, true]);
    goesOn.resolve();
    await stopping;
    await asked;
    expect(scripted.sent[2].path).toBe('/api/chats/c1/messages/a1/stop');
    expect(chat.messages.map(m => m.state)).toEqual(['done', 'interrupted']);
    expect([chat.isBusy, chat.isStopping]).toEqual([false, false]);
  });

  it('does not wait for an unresponsive server when Stop is pressed again', async () => {
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
    const stopping = chat.stop();
    await chat.stop();
    await expect(asked).rejects.toBeNull();
    await stopping;
    expect(scripted.sent.length).toBe(1);
    expect(chat.isStopping).toBe(false);
  });

  it('replaces the old answer when regenerating', async () => {
    const { user, assistant } = CHUNK.first.mistral;
    const second = {
      choices: [],
      mistral: { event: 'message', user, assistant: { ...assistant, id: 'a2' } }
    };
    const answers = [
      [CHUNK.first, CHUNK.text('One'), CHUNK.end()],
      [second, CHUNK.text('Two'), CHUNK.end()]
    ];
    const scripted = server(() => answers.shift() ?? []);
    const chat = new Chat(scripted);
    await chat.ask(WHY);
    await chat.regenerate(chat.messages[1], { extras: {} });
    expect(chat.messages.map(m => [m.id, textOf(m)])).toEqual([
      ['u1', 'Why?'],
      ['a2', 'Two']
    ]);
    expect(scripted.sent[2].body).toMatchObject({
      content: [],
      replaces: 'a1'
    });
  });

  it('follows an answer that began before the page loaded', async () => {
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

  it('shows that the server cannot save it', async () => {
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

it('sends requests that the Python side understands (tests/samples/requests.json)', async () => {
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
