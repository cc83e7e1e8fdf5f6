/** The only door to the network: Jupyter's own server, with its login, JSON and server-sent events. */
import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';
import { readLines } from './sse';
import { asRecord, Failure } from '../protocol';
import { trans } from '../translation';

type Method = 'GET' | 'POST' | 'PATCH' | 'DELETE';

export class Server {
  constructor(private _settings: ServerConnection.ISettings) {}

  /** The JSON answer, or null where the body is empty. Throws `Failure`; an AbortError when `signal` fired. */
  async ask(
    method: Method,
    path: string,
    body?: unknown,
    signal?: AbortSignal
  ): Promise<unknown> {
    const response = await this._request(method, path, body, signal);
    const text = await response.text();
    return text ? (JSON.parse(text) as unknown) : null;
  }

  /**
   * The chunks of an event stream; a Blob is sent as it is. It must end with `[DONE]`; one that breaks off before throws a `Failure`.
   * Leaving the loop closes the connection.
   */
  async *stream(
    method: 'GET' | 'POST',
    path: string,
    body?: unknown,
    signal?: AbortSignal
  ): AsyncGenerator<unknown> {
    const response = await this._request(method, path, body, signal);
    if (response.body) {
      try {
        for await (const line of readLines(response.body)) {
          if (!line.startsWith('data:')) {
            continue;
          }
          const data = line.slice(5).trim();
          if (data === '[DONE]') {
            return;
          }
          yield JSON.parse(data) as unknown;
        }
      } catch (error) {
        throw signal?.aborted || error instanceof Failure ? error : brokenOff();
      }
    }
    throw brokenOff();
  }

  /** The body as text, with the name that the server gives it. */
  async download(path: string): Promise<string> {
    return (await this._request('GET', path)).text();
  }

  private async _request(
    method: Method,
    path: string,
    body?: unknown,
    signal?: AbortSignal
  ): Promise<Response> {
    let response: Response;
    try {
      response = await ServerConnection.makeRequest(
        URLExt.join(this._settings.baseUrl, 'mistral') + path,
        {
          method,
          signal: signal ?? null,
          ...(body === undefined
            ? {}
            : { body: body instanceof Blob ? body : JSON.stringify(body) }),
          headers: {
            'Content-Type':
              body instanceof Blob ? body.type : 'application/json'
          }
        },
        this._settings
      );
    } catch (error) {
      throw signal?.aborted ? error : unreachable();
    }
    if (!response.ok) {
      throw await failureOf(response);
    }
    return response;
  }
}

export function isAbort(error: unknown): boolean {
  return (
    error instanceof Error &&
    (error.name === 'AbortError' || asRecord(error).code === 20)
  );
}

/** Any thrown thing as a `Failure`. */
export function toFailure(error: unknown): Failure {
  return error instanceof Failure
    ? error
    : new Failure('internal', String(error), trans.__('Try again.'));
}

async function failureOf(response: Response): Promise<Failure> {
  const text = await response.text().catch(() => '');
  try {
    const data = asRecord(JSON.parse(text));
    if (data.error) {
      return Failure.of(data.error);
    }
  } catch {
    // not ours: a proxy or Jupyter itself answers
  }
  if (response.status === 401 || response.status === 403) {
    return new Failure(
      'unauthorized',
      trans.__('The Jupyter server does not let this page in any more.'),
      trans.__('Reload the page and log in.')
    );
  }
  if (response.status === 404) {
    return new Failure(
      'no_extension',
      trans.__('The server part of Jupyter Mistral is not running.'),
      trans.__(
        'Run `jupyter server extension enable jupyter_mistral` and restart the server.'
      )
    );
  }
  return new Failure(
    'internal',
    trans.__('The Jupyter server answered %1.', response.status),
    trans.__('Try again; its log tells why.')
  );
}

function unreachable(): Failure {
  return new Failure(
    'server_gone',
    trans.__('The Jupyter server does not answer.'),
    trans.__(
      'Start it again or check the connection; nothing you typed is lost.'
    )
  );
}

function brokenOff(): Failure {
  return new Failure(
    'engine_died',
    trans.__('The answer broke off: the server went away.'),
    trans.__('Ask again.')
  );
}
