import { readFileSync } from 'fs';
import { join } from 'path';
import { eventOf, Failure, statusOf } from '../api/protocol';

const sample = (name: string): Record<string, unknown> =>
  JSON.parse(
    readFileSync(
      join(__dirname, '../../../tests/samples', `${name}.json`),
      'utf8'
    )
  );

describe('the samples that the Python side writes', () => {
  const chunks = sample('chunks');

  it('contain every event', () => {
    expect(eventOf(chunks.queued)).toEqual({ type: 'queued', position: 2 });
    expect(eventOf(chunks.loading)).toEqual({
      type: 'loading',
      stage: 'download',
      fraction: 0.5,
      detail: 'part 3 of 6',
      eta_s: 12.5
    });
    expect(eventOf(chunks.loading_unknown)).toMatchObject({
      stage: 'warm',
      fraction: null
    });
    expect(eventOf(chunks.reading)).toEqual({
      type: 'reading',
      done: 512,
      total: 1204,
      reused: 100,
      eta_s: 1.5,
      part: 0,
      parts: 0
    });
    expect(eventOf(chunks.delta)).toEqual({
      type: 'delta',
      text: 'print("é, سلام, 🌬")\n'
    });
    expect(eventOf(chunks.end)).toMatchObject({
      type: 'end',
      reason: 'stop',
      usage: {
        prompt_tokens: 1204,
        completion_tokens: 88,
        cached_tokens: 1100,
        tokens_per_second: 31.5,
        seed: 7,
        energy_j: null,
        left_out: ['cells 3-5']
      }
    });
    expect(eventOf(chunks.end_length)).toMatchObject({ reason: 'length' });
  });

  it('are all read', () => {
    for (const chunk of Object.values(chunks)) {
      expect(eventOf(chunk)).not.toBeNull();
    }
  });

  it('describe a failure in two sentences', () => {
    let caught: unknown;
    try {
      eventOf(sample('error'));
    } catch (error) {
      caught = error;
    }
    expect(caught).toBeInstanceOf(Failure);
    expect(caught).toMatchObject({
      code: 'busy',
      message: 'The model is answering somebody else.',
      todo: 'Wait a moment.'
    });
  });

  it('describe the status', () => {
    expect(statusOf(sample('status'))).toMatchObject({
      state: 'ready',
      model: { title: 'Qwen2.5 Coder', can: ['text', 'image'] },
      memory: {
        device: 'cuda',
        weights: 457,
        kv: 12,
        free: 1000,
        total: 2000,
        others: 500,
        gpu: 'NVIDIA L4',
        power_w: 31.5,
        temperature_c: 48,
        spilled: 90
      },
      seal: { kind: 'seccomp', measured: true },
      running: 1,
      queued: 2,
      last: { tokens_per_second: 31.5 },
      failure: { code: 'busy' },
      worker_pid: 42
    });
  });
});

it('reads the chunks of a stock server', () => {
  expect(eventOf({ choices: [{ text: 'x', finish_reason: null }] })).toEqual({
    type: 'delta',
    text: 'x'
  });
  expect(eventOf({ choices: [], mistral: { event: 'news' } })).toBeNull();
  expect(eventOf('nonsense')).toBeNull();
});
