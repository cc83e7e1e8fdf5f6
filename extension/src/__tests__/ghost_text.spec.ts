import { InlineCompletionTriggerKind } from '@jupyterlab/completer';
import { GhostText } from '../ghost/completer';
import { Failure } from '../api/protocol';
import { ScriptedServer } from './scripted';

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

  it('cancels the request before it', async () => {
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

  it('leaves Tab to the completer until there is text to show', async () => {
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
    const fetched = ghost.fetch(request('x'), {} as never).then(list => {
      isThere = true;
      return list;
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

  it('is not offered in prompts to the model', async () => {
    const server = new ScriptedServer(
      () => null,
      () => texts('a')
    );
    const ghost = new GhostText('Mistral', server, { isReady: true });
    for (const text of ['%%mistral\nwhy', 'x = 1\n%mistral fi', '%mistral ']) {
      const list = await ghost.fetch(request(text), {} as never);
      expect(list.items).toEqual([]);
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
