/** Reads server-sent events. */

/** Yields the data of each event; every event of our server is one line. */
export async function* readData(
  body: ReadableStream<Uint8Array>
): AsyncGenerator<string> {
  for await (const line of readLines(body)) {
    if (line.startsWith('data:')) {
      yield line.slice('data:'.length).trim();
    }
  }
}

/** Splits a byte stream into lines; chunks may end anywhere, even inside a UTF-8 sequence. */
export async function* readLines(
  body: ReadableStream<Uint8Array>
): AsyncGenerator<string> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  try {
    for (;;) {
      const { done, value } = await reader.read();
      rest += done ? decoder.decode() : decoder.decode(value, { stream: true });
      const lines = rest.split('\n');
      rest = lines.pop() ?? '';
      yield* lines;
      if (done) {
        if (rest) {
          yield rest;
        }
        return;
      }
    }
  } finally {
    // leaving the loop early cancels the request, which stops generation on the server
    reader.cancel().catch(() => undefined);
  }
}
