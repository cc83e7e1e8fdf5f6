/** The only access to the network: Jupyter's own server, with its authentication, JSON and server-sent events. */
import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';
import { readData } from './sse';
import { asRecord, Failure } from './protocol';
import { trans } from '../translation';

type Method = 'GET' | 'POST' | 'PATCH' | 'DELETE';

/** The requests that chats, context and model make; tests pass a scripted server. */
export interface IServer {
  ask(
    method: Method,
    path: string,
    body?: unknown,
    signal?: AbortSignal
  ): Promise<unknown>;
  stream(
    method: 'GET' | 'POST',
    path: string,
    body?: unknown,
    signal?: AbortSignal
  ): AsyncGenerator<unknown>;
}

export class Server implements IServer {
  constructor(private _settings: ServerConnection.ISettings) {}

  /** Returns the JSON of the response, or null for an empty body. Throws a `Failure`, or an AbortError once `signal` has fired. */
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
   * Yields the chunks of an event stream; a Blob body is sent as is. Throws a `Failure` if the stream ends before `[DONE]`.
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
        for await (const data of readData(response.body)) {
          if (data === '[DONE]') {
            return;
          }
          yield JSON.parse(data) as unknown;
        }
      } catch (error) {
        throw signal?.aborted || error instanceof Failure
          ? error
          : connectionLost();
      }
    }
    throw connectionLost();
  }

  /** Returns the body as text. */
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

/** Wraps anything that was thrown in a `Failure`. */
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
    // not our JSON: a proxy or Jupyter itself answered
  }
  if (response.status === 401 || response.status === 403) {
    return new Failure(
      'unauthorized',
      trans.__('Your session has expired.'),
      trans.__('Log in again.')
    );
  }
  if (response.status === 404) {
    return new Failure(
      'no_extension',
      trans.__('The Jupyter Mistral server extension is not running.'),
      trans.__(
        'Run `jupyter server extension enable jupyter_mistral` and restart the server.'
      )
    );
  }
  return new Failure(
    'internal',
    trans.__('The Jupyter server returned status %1.', response.status),
    trans.__('Try again. The server log has the details.')
  );
}

function unreachable(): Failure {
  return new Failure(
    'server_gone',
    trans.__('Cannot reach the Jupyter server.'),
    trans.__('Check that it is running. Your text is kept.')
  );
}

function connectionLost(): Failure {
  return new Failure(
    'engine_died',
    trans.__('The connection to the server was lost.'),
    trans.__('Try again.')
  );
}
