import { Assistant } from '../chat/assistant';
import { Chats } from '../chat/chats';
import { Context } from '../context/context';
import { Model } from '../model/model';
import { Failure } from '../api/protocol';
import { ScriptedServer } from './scripted';

it('attaches files again when a question is rejected', async () => {
  const server = new ScriptedServer(
    () => ({ id: 'c1' }),
    () => {
      throw new Failure('too_large', 'It is too long.');
    }
  );
  const memory = {
    getItem: () => null,
    setItem: () => undefined,
    removeItem: () => undefined
  };
  const context = new Context(server, null);
  const chats = new Chats(server, memory, () => null);
  const assistant = new Assistant(chats, context, new Model(server));
  context.attached.addFile('a.csv', 'x,y');
  const content = context.content('Why?');
  const refused = assistant.send('Why?');
  expect(context.isEmpty).toBe(true);
  await expect(refused).rejects.toMatchObject({ code: 'too_large' });
  expect(context.content('Why?')).toEqual(content);
  expect(content.length).toBe(2);
});
