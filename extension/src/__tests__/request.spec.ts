import { ServerConnection } from '@jupyterlab/services';
import { isAbort, Server } from '../api/request';
import { readLines } from '../api/sse';
import { Failure } from '../api/protocol';

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

  it('cancels the stream when the loop is left early', async () => {
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

describe('the connection to the server', () => {
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
    const chunks = [];
    for await (const chunk of new Server(settings).stream('POST', '/x', {})) {
      chunks.push(chunk);
    }
    return chunks;
  };

  it('reads events up to [DONE]', async () => {
    const body =
      ': hello\n\ndata: {"a":1}\n\ndata: [DONE]\n\ndata: {"a":2}\n\n';
    expect(await collect(reply(200, body))).toEqual([{ a: 1 }]);
  });

  it('reports a stream that ends early', async () => {
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
  ])('turns a %d into a failure', async (status, body, code) => {
    await expect(
      new Server(reply(status, body)).ask('GET', '/x')
    ).rejects.toMatchObject({ code });
  });

  it('reports an unreachable server and passes an abort on', async () => {
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
