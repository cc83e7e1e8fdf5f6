/** Ghost text: fill-in-the-middle completion of the active cell. The newest request wins, and errors are never shown. */
import {
  CompletionHandler,
  IInlineCompletionContext,
  IInlineCompletionItem,
  IInlineCompletionList,
  IInlineCompletionProvider,
  InlineCompletionTriggerKind
} from '@jupyterlab/completer';
import { NotebookPanel } from '@jupyterlab/notebook';
import { IServer } from '../api/request';
import { mistralIcon } from '../icons';
import { eventOf } from '../api/protocol';

/** Characters of code from the cells above, the nearest first. */
const BEFORE = 3000;
const PREFIX = 4000;
const SUFFIX = 2000;

/** A prompt to the model, not code. */
const PROMPT = /^\s*%%?mistral\b/;

interface IOpen {
  insertText: string;
  rest: AsyncGenerator<string>;
}

export interface ICompleterState {
  /** Typing never loads the model. */
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
    // JupyterLab does not cancel the previous request, which still occupies the model
    this._abort?.abort();
    const head = request.text.slice(0, request.offset);
    const line = head.slice(head.lastIndexOf('\n') + 1);
    const isPrompt = [request.text, line].some(text => PROMPT.test(text));
    if (!this.isEnabled || !this._state.isReady || !head.trim() || isPrompt) {
      return { items: [] };
    }
    this._abort = new AbortController();
    const prefix = cellsBefore(context) + head.slice(-PREFIX);
    const suffix = request.text.slice(request.offset, request.offset + SUFFIX);
    const rest = this._texts(prefix, suffix, this._abort.signal);
    let insertText = '';
    // with an item, Tab accepts the ghost text: until there is text, Tab belongs to the kernel's completions. An
    // explicit request waits for nothing else, and longer than JupyterLab waits for a first item.
    if (context.triggerKind !== InlineCompletionTriggerKind.Invoke) {
      const first = await rest.next();
      if (first.done) {
        return { items: [] };
      }
      insertText = first.value;
    }
    const token = `mistral-${++this._serial}`;
    this._open.clear();
    this._open.set(token, { insertText, rest });
    return { items: [{ insertText, token, isIncomplete: true }] };
  }

  async *stream(
    token: string
  ): AsyncGenerator<{ response: IInlineCompletionItem }> {
    const open = this._open.get(token);
    this._open.delete(token);
    if (!open) {
      return;
    }
    let insertText = open.insertText;
    for await (insertText of open.rest) {
      // cumulative: each response replaces the previous one
      yield { response: { insertText, token, isIncomplete: true } };
    }
    yield {
      response: { insertText: insertText.trimEnd(), token, isIncomplete: false }
    };
  }

  /** Yields the text so far, starting with the first word. */
  private async *_texts(
    prompt: string,
    suffix: string,
    signal: AbortSignal
  ): AsyncGenerator<string> {
    let text = '';
    try {
      const chunks = this._server.stream(
        'POST',
        '/v1/completions',
        {
          prompt,
          suffix,
          max_tokens: this.maxTokens,
          temperature: 0,
          stream: true,
          mistral: { if_busy: 'refuse' }
        },
        signal
      );
      for await (const chunk of chunks) {
        const event = eventOf(chunk);
        if (event?.type === 'delta') {
          text += event.text;
          if (text.trim()) {
            yield text;
          }
        }
      }
    } catch {
      // busy, cancelled or unreachable: ghost text shows no errors
    }
  }

  private _serial = 0;
  private _abort: AbortController | null = null;
  private _open = new Map<string, IOpen>();
}

/** Returns the code of the cells above, up to the limit. */
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
