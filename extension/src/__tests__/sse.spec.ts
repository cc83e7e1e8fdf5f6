import { readLines } from '../api/sse';

function bodyOf(bytes: Uint8Array, size: number): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      for (let at = 0; at < bytes.length; at += size) {
        controller.enqueue(bytes.slice(at, at + size));
      }
      controller.close();
    }
  });
}

describe('readLines', () => {
  const bytes = new TextEncoder().encode('{"a":"é"}\n{"b":"سلام"}\nlast');

  it.each([1, 2, 3, 5, 7, 100])(
    'is the same for chunks of %d bytes',
    async size => {
      const lines = [];
      for await (const line of readLines(bodyOf(bytes, size))) {
        lines.push(line);
      }
      expect(lines).toEqual(['{"a":"é"}', '{"b":"سلام"}', 'last']);
    }
  );

  it('lets go of the stream when it is left early', async () => {
    let cancelled = false;
    const body = new ReadableStream<Uint8Array>({
      pull: controller => controller.enqueue(bytes),
      cancel: () => {
        cancelled = true;
      }
    });
    for await (const line of readLines(body)) {
      expect(line).toBe('{"a":"é"}');
      break;
    }
    expect(cancelled).toBe(true);
  });
});
