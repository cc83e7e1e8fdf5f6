/** Ghost text: fill in the middle of the active cell. The newest request wins; nothing ever pops up while typing. */
import {
  CompletionHandler,
  IInlineCompletionContext,
  IInlineCompletionItem,
  IInlineCompletionList,
  IInlineCompletionProvider
} from '@jupyterlab/completer';
import { NotebookPanel } from '@jupyterlab/notebook';
import { IServer } from './chat';
import { mistralIcon } from './icons';
import { eventOf } from './protocol';

/** Characters of the cells above that lead up to the cell, the nearest first. */
const BEFORE = 3000;
const PREFIX = 4000;
const SUFFIX = 2000;

interface IJob {
  prefix: string;
  suffix: string;
  abort: AbortController;
}

export interface ICompleterState {
  /** A model that has to be loaded first must not be loaded by a key press. */
  isReady: boolean;
}

export class GhostText implements IInlineCompletionProvider {
  readonly identifier = 'jupyter-mistral:inline';
  readonly icon = mistralIcon;
  isEnabled = true;
  maxTokens = 96;

  constructor(
    readonly name: string,
    private _server: IServer,
    private _state: ICompleterState
  ) {}

  async fetch(
    request: CompletionHandler.IRequest,
    context: IInlineCompletionContext
  ): Promise<IInlineCompletionList<IInlineCompletionItem>> {
    // nobody else cancels the older request, and it still holds the model
    this._abort?.abort();
    const head = request.text.slice(0, request.offset);
    if (!this.isEnabled || !this._state.isReady || !head.trim()) {
      return { items: [] };
    }
    this._abort = new AbortController();
    const token = `mistral-${++this._serial}`;
    this._jobs.clear();
    this._jobs.set(token, {
      prefix: cellsBefore(context) + head.slice(-PREFIX),
      suffix: request.text.slice(request.offset, request.offset + SUFFIX),
      abort: this._abort
    });
    return { items: [{ insertText: '', token, isIncomplete: true }] };
  }

  async *stream(
    token: string
  ): AsyncGenerator<{ response: IInlineCompletionItem }> {
    const job = this._jobs.get(token);
    this._jobs.delete(token);
    if (!job || job.abort.signal.aborted) {
      return;
    }
    let insertText = '';
    try {
      const chunks = this._server.stream(
        'POST',
        '/v1/completions',
        {
          prompt: job.prefix,
          suffix: job.suffix,
          max_tokens: this.maxTokens,
          temperature: 0,
          stream: true,
          mistral: { if_busy: 'refuse' }
        },
        job.abort.signal
      );
      for await (const chunk of chunks) {
        const event = eventOf(chunk);
        if (event?.type === 'delta') {
          // cumulative: each response takes the place of the one before
          insertText += event.text;
          yield { response: { insertText, token, isIncomplete: true } };
        }
      }
    } catch {
      // busy, cancelled, gone: ghost text is a courtesy, never a dialog
    }
    yield {
      response: { insertText: insertText.trimEnd(), token, isIncomplete: false }
    };
  }

  private _serial = 0;
  private _abort: AbortController | null = null;
  private _jobs = new Map<string, IJob>();
}

/** The code of the cells above, as much of it as the budget holds. */
function cellsBefore(context: IInlineCompletionContext): string {
  if (!(context.widget instanceof NotebookPanel)) {
    return '';
  }
  const notebook = context.widget.content;
  const cells = notebook.model?.cells;
  const parts: string[] = [];
  let room = BEFORE;
  for (let i = notebook.activeCellIndex - 1; cells && i >= 0 && room > 0; i--) {
    const model = cells.get(i);
    const source = model.sharedModel.getSource().trim();
    if (model.type === 'code' && source && !/^[%!]/.test(source)) {
      parts.unshift(source.slice(-room));
      room -= source.length;
    }
  }
  return parts.length ? `${parts.join('\n\n')}\n\n` : '';
}
