/** Reads variables and the data of plots in the notebook's kernel, with the functions of `kernel/panel_calls.py`. */
import { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { Kernel, KernelMessage } from '@jupyterlab/services';
import { asList, asRecord, asText, asTexts, IVariable } from '../api/protocol';

/** How long to wait for a busy kernel; after that, the question is sent without its answer. */
const PATIENCE_MS = 1500;
/** An idle kernel answers in milliseconds, but its first imports can take seconds on a slow machine. */
const READING_MS = 20_000;

/** Calls a function of `kernel/panel_calls.py`; an expression, so that no name is left in the user's namespace. */
function call(name: string, ...args: string[]): string {
  const module =
    '__import__("jupyter_mistral.kernel.panel_calls", fromlist=["panel_calls"])';
  return `${module}.${name}(${args.join(', ')})`;
}

const SHELL = 'get_ipython()';

/** Returns nothing if the package is not installed in the kernel's environment; null without a kernel, or a busy one. */
export async function readVariables(
  panel: NotebookPanel | null
): Promise<IVariable[] | null> {
  const value = await evaluate(panel, call('variables', 'globals()'));
  if (value === undefined) {
    return null;
  }
  return asList(value).map(item => {
    const variable = asRecord(item);
    return {
      name: asText(variable.name),
      type: asText(variable.type),
      summary: asText(variable.summary)
    };
  });
}

/** Makes the kernel keep the data of figures, which the inline backend closes as soon as it has shown them. */
export async function watchFigures(panel: NotebookPanel | null): Promise<void> {
  await evaluate(panel, call('watch_figures', SHELL));
}

/** Watches the figures of each kernel from its start, to include the first plot. */
export function watchKernels(tracker: INotebookTracker): void {
  const add = (_: unknown, panel: NotebookPanel): void => {
    let isWatched = false;
    const update = (): void => {
      const status = panel.sessionContext.session?.kernel?.status;
      if (status === 'idle' && !isWatched) {
        isWatched = true;
        void watchFigures(panel);
      } else if (status !== 'idle' && status !== 'busy') {
        isWatched = false; // it is restarting
      }
    };
    panel.sessionContext.statusChanged.connect(update);
    panel.sessionContext.kernelChanged.connect(() => {
      isWatched = false;
      update();
    });
    update();
  };
  tracker.forEach(panel => add(null, panel));
  tracker.widgetAdded.connect(add);
}

/** Returns a text with the data of each figure that cell In[run] showed. */
export async function readFigures(
  panel: NotebookPanel | null,
  run: number
): Promise<string[]> {
  return asTexts(
    await evaluate(panel, call('facts_of_run', SHELL, String(run)))
  );
}

/** Returns a text with the data of the figure that the kernel showed as exactly this image, a data: URL. */
export async function readFigure(
  panel: NotebookPanel | null,
  picture: string
): Promise<string[]> {
  // whole groups of base64, counted from the end, are the end of the file
  const end = picture.slice(picture.indexOf(',') + 1).slice(-400);
  if (!/^[A-Za-z0-9+/]{4,}={0,2}$/.test(end) || end.length % 4) {
    return []; // the notebook is untrusted, and this becomes part of an expression
  }
  return asTexts(
    await evaluate(panel, call('facts_of_image', SHELL, `"${end}"`))
  );
}

type Connection = Kernel.IKernelConnection;

/** Our request in progress, by kernel. */
const requests = new WeakMap<Connection, Promise<unknown>>();

/** Evaluates a Python expression of ours and returns its JSON value; null if it fails, undefined if no kernel could answer. */
async function evaluate(
  panel: NotebookPanel | null,
  expression: string
): Promise<unknown> {
  const kernel = panel?.sessionContext.session?.kernel;
  if (!kernel || !(await becomesIdle(kernel))) {
    return undefined;
  }
  const request = ask(kernel, expression);
  requests.set(kernel, request);
  const reply = await request;
  return reply ? valueOf(reply) : undefined;
}

/** Waits briefly for the kernel to become idle; our own earlier request does not count as the user's work. */
async function becomesIdle(kernel: Connection): Promise<boolean> {
  if (kernel.status !== 'idle') {
    await requests.get(kernel);
  }
  if (kernel.status === 'idle' || kernel.status === 'dead') {
    return kernel.status === 'idle';
  }
  return new Promise(resolve => {
    const end = (): void => {
      clearTimeout(timer);
      kernel.statusChanged.disconnect(onStatus);
      resolve(kernel.status === 'idle');
    };
    const onStatus = (_: unknown, status: Kernel.Status): void => {
      if (status === 'idle' || status === 'dead') {
        end();
      }
    };
    const timer = setTimeout(end, PATIENCE_MS);
    kernel.statusChanged.connect(onStatus);
  });
}

/** Sends the expression; returns null if no reply comes in time or the kernel dies. */
async function ask(
  kernel: Connection,
  expression: string
): Promise<KernelMessage.IExecuteReplyMsg | null> {
  let timer = 0;
  const late = new Promise<null>(resolve => {
    timer = window.setTimeout(() => resolve(null), READING_MS);
  });
  try {
    const future = kernel.requestExecute({
      code: '',
      silent: true,
      store_history: false,
      stop_on_error: false,
      user_expressions: { value: `__import__("json").dumps(${expression})` }
    });
    const reply = await Promise.race([future.done, late]);
    future.dispose();
    return reply;
  } catch {
    return null; // the kernel was restarted or shut down
  } finally {
    clearTimeout(timer);
  }
}

/** Reads the value in a kernel's reply: JSON inside the repr of a Python string. */
export function valueOf(reply: KernelMessage.IExecuteReplyMsg): unknown {
  const expressions = asRecord(asRecord(reply.content).user_expressions);
  const data = asRecord(asRecord(expressions.value).data);
  // json.dumps escapes non-ASCII characters, so Python's repr only escapes quotes and backslashes
  const match = /^(['"])([\s\S]*)\1$/.exec(asText(data['text/plain']));
  try {
    return match ? JSON.parse(match[2].replace(/\\(['"\\])/g, '$1')) : null;
  } catch {
    return null;
  }
}
