/** What the notebook's kernel knows: its variables, the numbers behind its plots. Read there by the package's own bounded readers. */
import { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { Kernel, KernelMessage } from '@jupyterlab/services';
import { asList, asRecord, asText, asTexts, IVariable } from '../protocol';

/** Longer than this the kernel is busy with the user's own work: the question goes without. */
const PATIENCE_MS = 1500;
/** An idle kernel reads in milliseconds; the first time, on a slow machine, it imports for seconds. */
const READING_MS = 20_000;

const FIGURES =
  '__import__("jupyter_mistral.kernel.figures.history", fromlist=["install"]).install(get_ipython())';
const VARIABLES =
  '__import__("jupyter_mistral.kernel.variables.describe", fromlist=["variables"]).variables(globals())';

/** Empty where the package is not installed beside the kernel; null where there is none, or it is busy. */
export async function readVariables(
  panel: NotebookPanel | null
): Promise<IVariable[] | null> {
  const value = await evaluate(panel, VARIABLES);
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

/** From now on the kernel keeps the facts of the figures that it shows: the inline backend closes them right after. */
export async function watchFigures(panel: NotebookPanel | null): Promise<void> {
  await evaluate(panel, `${FIGURES} and None`);
}

/** Watch the figures of each kernel from its start, so that the first plot is known too. */
export function watchKernels(tracker: INotebookTracker): void {
  const add = (_: unknown, panel: NotebookPanel): void => {
    let isWatched = false;
    const look = (): void => {
      const status = panel.sessionContext.session?.kernel?.status;
      if (status === 'idle' && !isWatched) {
        isWatched = true;
        void watchFigures(panel);
      } else if (status !== 'idle' && status !== 'busy') {
        isWatched = false; // it starts anew
      }
    };
    panel.sessionContext.statusChanged.connect(look);
    panel.sessionContext.kernelChanged.connect(() => {
      isWatched = false;
      look();
    });
    look();
  };
  tracker.forEach(panel => add(null, panel));
  tracker.widgetAdded.connect(add);
}

/** The facts, in words, of the figures that cell In[run] showed. */
export async function readFigures(
  panel: NotebookPanel | null,
  run: number
): Promise<string[]> {
  return asTexts(
    await evaluate(panel, `[str(seen.facts) for seen in ${FIGURES}.of(${run})]`)
  );
}

/** The facts of the figure that the kernel showed as exactly this picture, a data: URL. */
export async function readFigure(
  panel: NotebookPanel | null,
  picture: string
): Promise<string[]> {
  // a whole number of base64's groups from the end is the end of the file
  const end = picture.slice(picture.indexOf(',') + 1).slice(-400);
  if (!/^[A-Za-z0-9+/]{4,}={0,2}$/.test(end) || end.length % 4) {
    return []; // it becomes part of an expression, and comes from a notebook
  }
  return asTexts(
    await evaluate(
      panel,
      `[str(seen.facts) for seen in ${FIGURES}.ending("${end}")]`
    )
  );
}

type Connection = Kernel.IKernelConnection;

/** What each kernel is asked by us at the moment. */
const readings = new WeakMap<Connection, Promise<unknown>>();

/** The value of a Python expression of ours, as JSON; null where it has none, undefined where nobody could be asked. */
async function evaluate(
  panel: NotebookPanel | null,
  expression: string
): Promise<unknown> {
  const kernel = panel?.sessionContext.session?.kernel;
  if (!kernel || !(await becomesIdle(kernel))) {
    return undefined;
  }
  const reading = ask(kernel, expression);
  readings.set(kernel, reading);
  const reply = await reading;
  return reply ? valueOf(reply) : undefined;
}

/** Whether the kernel is free, if need be once it has told what we asked before, which is nobody's work. */
async function becomesIdle(kernel: Connection): Promise<boolean> {
  if (kernel.status !== 'idle') {
    await readings.get(kernel);
  }
  if (kernel.status === 'idle' || kernel.status === 'dead') {
    return kernel.status === 'idle';
  }
  return new Promise(resolve => {
    const end = (): void => {
      clearTimeout(timer);
      kernel.statusChanged.disconnect(look);
      resolve(kernel.status === 'idle');
    };
    const look = (_: unknown, status: Kernel.Status): void => {
      if (status === 'idle' || status === 'dead') {
        end();
      }
    };
    const timer = setTimeout(end, PATIENCE_MS);
    kernel.statusChanged.connect(look);
  });
}

/** The kernel's reply; null where none came in time or the kernel went away. */
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
    return null; // restarted or shut down meanwhile
  } finally {
    clearTimeout(timer);
  }
}

/** What the kernel's reply holds: JSON inside the repr of a Python string. */
export function valueOf(reply: KernelMessage.IExecuteReplyMsg): unknown {
  const expressions = asRecord(asRecord(reply.content).user_expressions);
  const data = asRecord(asRecord(expressions.value).data);
  // json.dumps escapes all but ASCII, so only quotes and backslashes are left for Python's repr to escape
  const found = /^(['"])([\s\S]*)\1$/.exec(asText(data['text/plain']));
  try {
    return found ? JSON.parse(found[2].replace(/\\(['"\\])/g, '$1')) : null;
  } catch {
    return null;
  }
}
