import { Model } from '../model/model';
import { seconds, unbroken } from '../panel/format';
import { Failure } from '../api/protocol';
import { CHUNK, ScriptedServer } from './scripted';

const LOADING = {
  choices: [],
  mistral: { event: 'loading', stage: 'download', fraction: 0.5, eta_s: 3 }
};

describe('the model', () => {
  it('shows the progress of a load', async () => {
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
    expect(model.lacksVision).toBe(true);
  });

  it('keeps the failure of a load after the next status', async () => {
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

  it('clears the failure once the server is back', async () => {
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

describe('numbers', () => {
  it('stay on one line with their units', () => {
    for (const text of [
      ...[0, 12, 400].map(seconds),
      unbroken('first after 0.0 s')
    ]) {
      expect(text).not.toContain(' ');
    }
    expect(seconds(0)).toBe('0.0\u00a0s');
  });
});
