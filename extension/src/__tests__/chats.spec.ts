import { Chats, ITabStorage } from '../chat/chats';
import { IQuestion } from '../chat/turn';
import { Failure } from '../api/protocol';
import { CHUNK, ISent, ScriptedServer } from './scripted';

const WHY: IQuestion = { content: ['Why?'], extras: { client: 'panel' } };

describe('chats', () => {
  const memory = (): ITabStorage & { values: Map<string, string> } => {
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

  it('restore the chat that this tab had open', async () => {
    const kept = memory();
    kept.setItem('jupyter-mistral:chat', 'c1');
    const chats = new Chats(new ScriptedServer(answer), kept, () => null);
    await chats.restore();
    expect(chats.current.id).toBe('c1');
  });

  it('open the newest chat in a new tab', async () => {
    const chats = new Chats(new ScriptedServer(answer), memory(), () => null);
    await chats.restore();
    expect(chats.current.id).toBe('c2');
    expect(chats.rows.length).toBe(2);
  });

  it('keep a chat that the user started meanwhile', async () => {
    const chats = new Chats(new ScriptedServer(answer), memory(), () => null);
    const restored = chats.restore();
    chats.start();
    await restored;
    expect(chats.current.id).toBeNull();
  });

  it('show a chat that was started before the panel was shown', async () => {
    const chats = new Chats(new ScriptedServer(answer), memory(), () => null);
    chats.start();
    await chats.restore();
    expect(chats.current.id).toBeNull();
  });

  it('signal a chat that the user starts, but not one that replaces a deleted chat', async () => {
    const chats = new Chats(new ScriptedServer(answer), memory(), () => null);
    let begun = 0;
    chats.started.connect(() => begun++);
    await chats.restore();
    await chats.remove('c2');
    expect([chats.current.id, begun]).toEqual([null, 0]);
    chats.start();
    expect(begun).toBe(1);
  });

  it('start empty and are created on the server with the first question', async () => {
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

  it('report an unreachable server as a failure', async () => {
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
