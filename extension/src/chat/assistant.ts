/** Joins a chat, the context of its questions and the ready-made tasks: what panel and commands ask for. Knows no DOM. */
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
import { Failure, IExtras } from '../protocol';
import { splitCommand } from '../context/suggest';
import { trans } from '../translation';

export interface ITarget {
  cell: ICellView;
  /** The answer's code is meant to take the cell's place. */
  isEdit: boolean;
}

/** What an answer is about, kept from when its question was asked. */
interface IAbout {
  cell: string;
  /** The cell as the model was given it. */
  source: string;
  isEdit: boolean;
  /** How often the same was asked before. */
  tries: number;
  /** The change was accepted or put away. */
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

  /** A picture is attached, and the loaded model cannot see. */
  get isBlindToPictures(): boolean {
    return this.model.isBlind && this.context.attached.pictures.length > 0;
  }

  /** Send what stands in the composer. `/clear` starts a chat, `/fix` and kin run a task. Throws a `Failure`. */
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

  /** Ask one of the ready-made questions about a cell: the one given, the failed one for `fix`, the active one else. */
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
          : trans.__('No cell is active.'),
        trans.__('Open a notebook and choose a cell.')
      );
    }
    const own = this.context.attached.all;
    const figures =
      name === 'plot' ? await this._takePlot(cell, options.plot ?? null) : [];
    if (name === 'fix' && cell.error) {
      this.context.set('error', true);
    }
    const question = [task.prompt(cellName(cell.index)), options.more]
      .filter(Boolean)
      .join(' ');
    await this._ask(question, options.replaces ?? null, own, {
      shape: task.shape,
      cell: cell.id,
      source: cell.source,
      isEdit: task.isEdit,
      tries: 0,
      isDecided: false,
      extras: { focus: cell.index, ...(figures.length ? { figures } : {}) }
    });
  }

  /** Ask the same again; `isVaried` where the same answer would be no use: hotter each time, so that another one comes. */
  async regenerate(message: IMessage, isVaried = false): Promise<void> {
    const before = this._abouts.get(message.id);
    const about = before && {
      ...before,
      tries: before.tries + 1,
      isDecided: false
    };
    const temperature = Math.min(1.2, 0.6 + 0.2 * (about?.tries ?? 1));
    const thorough = this._thorough.has(message.id);
    await this.chat.regenerate(message, {
      extras: {
        ...this.context.extras(),
        ...about?.extras,
        ...(thorough ? { thorough } : {})
      },
      sampling: { ...this.sampling, ...(isVaried ? { temperature } : {}) },
      onBegin: answer => this._remember(answer, about, thorough)
    });
    void this.model.refresh();
  }

  /**
   * Whether to show a code block as a change without a click: the first one that changes something, of an answer
   * that was asked here to change its cell, until the user has decided.
   */
  isProposal(answer: IMessage, code: string): boolean {
    const about = this._abouts.get(answer.id);
    if (!about?.isEdit || about.isDecided) {
      return false;
    }
    const change = codeBlocks(splitThinking(textOf(answer)).answer).find(
      block => !isSameCode(block.code, about.source)
    );
    return !!change && isSameCode(change.code, code);
  }

  /** The change of this answer was accepted or put away: it does not show itself again. */
  decide(answer: IMessage): void {
    const about = this._abouts.get(answer.id);
    if (about) {
      about.isDecided = true;
    }
  }

  /** Why a whole answer that was to change a cell offers no change; null where it does, or was not to. */
  missingChange(answer: IMessage): 'unchanged' | 'no_code' | null {
    const about = this._abouts.get(answer.id);
    if (!about?.isEdit || answer.state !== 'done') {
      return null;
    }
    const blocks = codeBlocks(splitThinking(textOf(answer)).answer);
    if (!blocks.length) {
      return 'no_code';
    }
    return blocks.every(({ code }) => isSameCode(code, about.source))
      ? 'unchanged'
      : null;
  }

  /** The cell that an answer is about; the active one where its question names none. */
  targetOf(answer: IMessage): ITarget | null {
    const panel = this.notebook;
    if (!panel) {
      return null;
    }
    const at = this.chat.messages.indexOf(answer);
    const asked = this.chat.messages[at - 1]?.content[0];
    const question = typeof asked === 'string' ? asked : '';
    const known = this._abouts.get(answer.id);
    const named = /\[cell (\d+)\]/.exec(question);
    const index = known
      ? indexOf(panel, known.cell)
      : named
        ? Number(named[1])
        : panel.content.activeCellIndex;
    const cell = cellAt(panel, index);
    return cell && { cell, isEdit: known?.isEdit ?? false };
  }

  /** `own`: what the user attached, who has it again where the question is not taken. */
  private async _ask(
    text: string,
    replaces: string | null,
    own: Attachment[],
    task?: IAbout & { shape: string }
  ): Promise<void> {
    const extras = { ...this.context.extras(), ...task?.extras };
    const content = this.context.content(text, task?.shape);
    if (this.isBlindToPictures) {
      throw new Failure(
        'blind_model',
        trans.__(
          '%1 cannot see pictures.',
          this.model.status?.model?.title ?? trans.__('This model')
        ),
        trans.__('Load a model that can, or remove the picture.')
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
      this.context.attached.putBack(own);
      throw error;
    }
    // the model is in memory now, and the card tells what the answer cost
    void this.model.refresh();
  }

  private _cellFor(name: TaskName): ICellView | null {
    const active = activeCell(this.notebook);
    return name === 'fix' && !active?.error
      ? (lastError(this.notebook) ?? active)
      : active;
  }

  /** The numbers behind a plot, to check what is seen; its pixels go along where the model sees. Throws a `Failure`. */
  private async _takePlot(
    cell: ICellView,
    chosen: IPlot | null
  ): Promise<string[]> {
    const plot = chosen ?? cell.plots[cell.plots.length - 1];
    if (!plot) {
      throw new Failure(
        'no_plot',
        trans.__('%1 shows no plot.', cellName(cell.index)),
        trans.__('Run the cell that draws it.')
      );
    }
    const figures = await plotFacts(this.model, this.notebook, cell, plot);
    const isSeen = plot.picture !== null && (await this.model.canSee());
    if (plot.picture !== null && isSeen) {
      this.context.attached.addPicture(
        await pictureOfUrl(plot.picture, cellName(cell.index))
      );
    }
    if (!figures.length && !isSeen) {
      throw new Failure(
        'blind_model',
        trans.__(
          'The numbers behind the plot of %1 are not known in this kernel, and its pixels cannot be looked at.',
          cellName(cell.index)
        ),
        trans.__('Run the cell again, then ask; or load a model that sees.')
      );
    }
    return figures;
  }

  private _remember(
    answer: IMessage,
    about: IAbout | undefined,
    isThorough: boolean
  ): void {
    if (about) {
      this._abouts.set(answer.id, about);
    }
    if (isThorough) {
      this._thorough.add(answer.id);
    }
  }

  /** By the answer's id. */
  private _abouts = new Map<string, IAbout>();
  /** Answers for which all of the notebook was to be read. */
  private _thorough = new Set<string>();
}

/** Alike but for white space at the ends of lines and of the whole. */
export function isSameCode(a: string, b: string): boolean {
  const bare = (code: string): string =>
    code.replace(/[^\S\n]+$/gm, '').replace(/^\n+|\n+$/g, '');
  return bare(a) === bare(b);
}
