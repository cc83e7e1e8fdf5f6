/** Joins chats, context and built-in tasks: what panel and commands call. No DOM. */
import { NotebookPanel } from '@jupyterlab/notebook';
import { Chat } from './chat';
import { IMessage, textOf } from './message';
import { Chats } from './chats';
import { Attachment, cellName } from '../context/attachments';
import { codeBlocks, splitThinking } from '../text/blocks';
import { Context } from '../context/context';
import { Model } from '../model/model';
import {
  activeCell,
  cellAt,
  ICellView,
  indexOf,
  IPlot,
  lastError
} from '../notebook/notebook';
import { pictureOfUrl } from '../context/pictures';
import { plotFacts } from '../notebook/plots';
import { ITask, TaskName, tasks } from './prompts';
import { Failure, IExtras } from '../api/protocol';
import { splitCommand } from '../context/suggest';
import { trans } from '../translation';

export interface ITarget {
  cell: ICellView;
  /** The answer's code replaces the cell. */
  isEdit: boolean;
}

/** The task behind an answer, as it was when its question was asked. */
interface IAskedTask {
  cell: string;
  /** The cell's source as the model received it. */
  source: string;
  isEdit: boolean;
  /** How often the question was asked before. */
  tries: number;
  /** The user has accepted or rejected the change. */
  isDecided: boolean;
  extras: IExtras;
}

export class Assistant {
  constructor(
    readonly chats: Chats,
    readonly context: Context,
    readonly model: Model
  ) {
    this.tasks = tasks(trans);
  }

  readonly tasks: ITask[];
  sampling: Record<string, unknown> = {};

  get chat(): Chat {
    return this.chats.current;
  }

  get notebook(): NotebookPanel | null {
    return this.context.notebook;
  }

  /** Whether an image is attached that the loaded model cannot see. */
  get cannotSeeImages(): boolean {
    return this.model.lacksVision && this.context.attached.pictures.length > 0;
  }

  /** Sends the text of the composer. `/clear` starts a chat; commands such as `/fix` run a task. Throws a `Failure`. */
  async send(text: string, replaces: string | null = null): Promise<void> {
    const command = splitCommand(text);
    if (command?.name === 'clear') {
      this.chats.start();
      return;
    }
    const task = this.tasks.find(t => t.name === command?.name);
    if (task) {
      await this.run(task.name, { more: command?.rest, replaces });
      return;
    }
    await this._ask(text, replaces, this.context.attached.all);
  }

  /** Runs a task on a cell: the given one, else (for `fix`) the failed one, else the active one. Throws a `Failure`. */
  async run(
    name: TaskName,
    options: {
      cell?: ICellView | null;
      plot?: IPlot | null;
      more?: string;
      replaces?: string | null;
    } = {}
  ): Promise<void> {
    const task = this.tasks.find(t => t.name === name)!;
    const cell = options.cell ?? this._cellFor(name);
    if (!cell) {
      throw new Failure(
        'no_cell',
        name === 'fix'
          ? trans.__('No cell has failed.')
          : trans.__('No cell is selected.'),
        trans.__('Open a notebook and select a cell.')
      );
    }
    const attached = this.context.attached.all;
    const figures =
      name === 'plot' ? await this._attachPlot(cell, options.plot ?? null) : [];
    if (name === 'fix' && cell.error) {
      this.context.set('error', true);
    }
    const question = [task.prompt(cellName(cell.index)), options.more]
      .filter(Boolean)
      .join(' ');
    await this._ask(question, options.replaces ?? null, attached, {
      format: task.format,
      cell: cell.id,
      source: cell.source,
      isEdit: task.isEdit,
      tries: 0,
      isDecided: false,
      extras: { focus: cell.index, ...(figures.length ? { figures } : {}) }
    });
  }

  /** Asks the same question again; `isVaried` raises the temperature each time, to get a different answer. */
  async regenerate(message: IMessage, isVaried = false): Promise<void> {
    const before = this._tasks.get(message.id);
    const task = before && {
      ...before,
      tries: before.tries + 1,
      isDecided: false
    };
    const temperature = Math.min(1.2, 0.6 + 0.2 * (task?.tries ?? 1));
    const thorough = this._thorough.has(message.id);
    await this.chat.regenerate(message, {
      extras: {
        ...this.context.extras(),
        ...task?.extras,
        ...(thorough ? { thorough } : {})
      },
      sampling: { ...this.sampling, ...(isVaried ? { temperature } : {}) },
      onBegin: answer => this._remember(answer, task, thorough)
    });
    void this.model.refresh();
  }

  /**
   * Whether to show a code block as a change without a click: true for the first block that changes the cell, if
   * that was the task and the user has not decided yet.
   */
  isProposal(answer: IMessage, code: string): boolean {
    const task = this._tasks.get(answer.id);
    if (!task?.isEdit || task.isDecided) {
      return false;
    }
    const change = codeBlocks(splitThinking(textOf(answer)).answer).find(
      block => !isSameCode(block.code, task.source)
    );
    return !!change && isSameCode(change.code, code);
  }

  /** Notes that the user has accepted or rejected the change, so that it is not shown again. */
  decide(answer: IMessage): void {
    const task = this._tasks.get(answer.id);
    if (task) {
      task.isDecided = true;
    }
  }

  /** Why a complete answer offers no change to the cell; null if it does, or if that was not the task. */
  missingChange(answer: IMessage): 'unchanged' | 'no_code' | null {
    const task = this._tasks.get(answer.id);
    if (!task?.isEdit || answer.state !== 'done') {
      return null;
    }
    const blocks = codeBlocks(splitThinking(textOf(answer)).answer);
    if (!blocks.length) {
      return 'no_code';
    }
    return blocks.every(({ code }) => isSameCode(code, task.source))
      ? 'unchanged'
      : null;
  }

  /** Returns the cell that an answer is about; the active one if its question names none. */
  targetOf(answer: IMessage): ITarget | null {
    const panel = this.notebook;
    if (!panel) {
      return null;
    }
    const at = this.chat.messages.indexOf(answer);
    const asked = this.chat.messages[at - 1]?.content[0];
    const question = typeof asked === 'string' ? asked : '';
    const task = this._tasks.get(answer.id);
    const named = /\[cell (\d+)\]/.exec(question);
    const index = task
      ? indexOf(panel, task.cell)
      : named
        ? Number(named[1])
        : panel.content.activeCellIndex;
    const cell = cellAt(panel, index);
    return cell && { cell, isEdit: task?.isEdit ?? false };
  }

  /** `attached` is what the user attached; it is attached again if the question is rejected. */
  private async _ask(
    text: string,
    replaces: string | null,
    attached: Attachment[],
    task?: IAskedTask & { format: string }
  ): Promise<void> {
    const extras = { ...this.context.extras(), ...task?.extras };
    const content = this.context.content(text, task?.format);
    if (this.cannotSeeImages) {
      throw new Failure(
        'blind_model',
        trans.__(
          '%1 cannot see images.',
          this.model.status?.model?.title ?? trans.__('This model')
        ),
        trans.__('Load a model with vision, or remove the image.')
      );
    }
    const asked = this.chat.ask(
      {
        content,
        extras,
        sampling: this.sampling,
        onBegin: answer =>
          this._remember(answer, task, extras.thorough === true)
      },
      replaces
    );
    this.context.clear();
    try {
      await asked;
    } catch (error) {
      this.context.attached.putBack(attached);
      throw error;
    }
    // the model is loaded now, and the card shows the speed of the answer
    void this.model.refresh();
  }

  private _cellFor(name: TaskName): ICellView | null {
    const active = activeCell(this.notebook);
    return name === 'fix' && !active?.error
      ? (lastError(this.notebook) ?? active)
      : active;
  }

  /** Returns the data of a plot, and attaches its image if the model has vision. Throws a `Failure` if it has neither. */
  private async _attachPlot(
    cell: ICellView,
    chosen: IPlot | null
  ): Promise<string[]> {
    const plot = chosen ?? cell.plots[cell.plots.length - 1];
    if (!plot) {
      throw new Failure(
        'no_plot',
        trans.__('%1 has no plot.', cellName(cell.index)),
        trans.__('Run the cell that draws it.')
      );
    }
    const figures = await plotFacts(this.model, this.notebook, cell, plot);
    const isSeen = plot.picture !== null && (await this.model.hasVision());
    if (plot.picture !== null && isSeen) {
      this.context.attached.addPicture(
        await pictureOfUrl(plot.picture, cellName(cell.index))
      );
    }
    if (!figures.length && !isSeen) {
      throw new Failure(
        'blind_model',
        trans.__(
          'The data of the plot in %1 is not available, and the model cannot see its image.',
          cellName(cell.index)
        ),
        trans.__('Run the cell again, or load a model with vision.')
      );
    }
    return figures;
  }

  private _remember(
    answer: IMessage,
    task: IAskedTask | undefined,
    isThorough: boolean
  ): void {
    if (task) {
      this._tasks.set(answer.id, task);
    }
    if (isThorough) {
      this._thorough.add(answer.id);
    }
  }

  /** By the answer's id. */
  private _tasks = new Map<string, IAskedTask>();
  /** Answers whose question asked to read the notebook in parts. */
  private _thorough = new Set<string>();
}

/** Compares code, ignoring white space at line ends and blank lines around it. */
export function isSameCode(a: string, b: string): boolean {
  const bare = (code: string): string =>
    code.replace(/[^\S\n]+$/gm, '').replace(/^\n+|\n+$/g, '');
  return bare(a) === bare(b);
}
