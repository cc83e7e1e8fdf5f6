/** The commands behind palette, menus, shortcuts and cell buttons. */
import { JupyterFrontEnd } from '@jupyterlab/application';
import { ICommandPalette, showErrorMessage } from '@jupyterlab/apputils';
import { INotebookTracker, NotebookActions } from '@jupyterlab/notebook';
import { TranslationBundle } from '@jupyterlab/translation';
import { LabIcon, refreshIcon } from '@jupyterlab/ui-components';
import { ReadonlyPartialJSONObject } from '@lumino/coreutils';
import { Assistant } from './chat/assistant';
import {
  documentIcon,
  explainIcon,
  fixIcon,
  mistralIcon,
  plotIcon
} from './icons';
import {
  activeCell,
  cellAt,
  ICellView,
  indexOf,
  outputAt,
  plotAt
} from './notebook/notebook';
import { unmarkAll } from './notebook/origin';
import { TaskName } from './chat/prompts';
import { toFailure } from './api/request';

export namespace CommandIDs {
  export const open = 'jupyter-mistral:open';
  export const newChat = 'jupyter-mistral:new-chat';
  export const load = 'jupyter-mistral:load';
  export const unload = 'jupyter-mistral:unload';
  export const unmark = 'jupyter-mistral:unmark';
  export const stop = 'jupyter-mistral:stop';
  export const explain = 'jupyter-mistral:explain';
  export const fix = 'jupyter-mistral:fix';
  export const document = 'jupyter-mistral:document';
  export const refactor = 'jupyter-mistral:refactor';
  export const explainPlot = 'jupyter-mistral:explain-plot';
  export const explainImage = 'jupyter-mistral:explain-image';
}

const NO_ARGUMENTS = { args: { type: 'object', properties: {} } };
const CELL_ARGUMENT = {
  args: {
    type: 'object',
    properties: {
      cell: {
        type: 'string',
        description: 'ID of the cell (default: the active cell)'
      }
    }
  }
};

const OUTPUT_ARGUMENT = {
  args: {
    type: 'object',
    properties: {
      ...CELL_ARGUMENT.args.properties,
      output: {
        type: 'number',
        description: 'Index of the output (default: the last plot)'
      }
    }
  }
};

export interface ICommandsOptions {
  app: JupyterFrontEnd;
  assistant: Assistant;
  tracker: INotebookTracker | null;
  palette: ICommandPalette | null;
  trans: TranslationBundle;
  reveal: () => void;
}

export function addCommands(options: ICommandsOptions): void {
  const { app, assistant, tracker, palette, trans, reveal } = options;
  const { commands } = app;
  const category = trans.__('Mistral');
  const ids: string[] = [];

  /** `isListed`: also in the palette. */
  const add = (
    id: string,
    label: string,
    execute: (args: ReadonlyPartialJSONObject) => unknown,
    more: {
      icon?: LabIcon;
      caption?: string;
      isVisible?: () => boolean;
      isListed?: boolean;
      describedBy?: typeof CELL_ARGUMENT | typeof NO_ARGUMENTS;
    } = {}
  ): void => {
    const { isListed = true, describedBy = NO_ARGUMENTS, ...rest } = more;
    commands.addCommand(id, {
      // toolbar buttons show only the icon
      label: args => (args.toolbar ? '' : label),
      describedBy,
      ...rest,
      execute: async args => {
        try {
          await execute(args);
        } catch (error) {
          if (error !== null) {
            const failure = toFailure(error);
            void showErrorMessage(failure.message, failure.todo);
          }
        }
      }
    });
    ids.push(id);
    if (isListed) {
      palette?.addItem({ command: id, category });
    }
  };

  const active = (): ICellView | null => activeCell(assistant.notebook);
  const isCode = (): boolean => active()?.type === 'code';
  const chosen = (args: ReadonlyPartialJSONObject): ICellView | null => {
    const panel = assistant.notebook;
    return panel && typeof args.cell === 'string'
      ? cellAt(panel, indexOf(panel, args.cell))
      : null;
  };
  const task =
    (name: TaskName) =>
    async (args: ReadonlyPartialJSONObject): Promise<void> => {
      reveal();
      await assistant.run(name, { cell: chosen(args) });
    };
  const image = (): Element | null =>
    app.contextMenuHitTest(node => node.tagName === 'IMG') ?? null;

  add(CommandIDs.open, trans.__('Mistral Chat'), reveal, {
    icon: mistralIcon,
    caption: trans.__('Ask Mistral about this notebook')
  });
  add(CommandIDs.newChat, trans.__('Mistral: New Chat'), () => {
    assistant.chats.start();
    reveal();
  });
  add(CommandIDs.load, trans.__('Mistral: Load Model'), () => {
    reveal();
    return assistant.model.load(null, false);
  });
  add(CommandIDs.unmark, trans.__('Mistral: Clear AI-Generated Marks'), () =>
    unmarkAll(assistant.notebook)
  );
  add(CommandIDs.unload, trans.__('Mistral: Unload Model'), () =>
    assistant.model.unload()
  );
  add(CommandIDs.stop, trans.__('Mistral: Stop Answer'), () =>
    assistant.chat.stop()
  );
  add(CommandIDs.explain, trans.__('Explain Cell'), task('explain'), {
    icon: explainIcon,
    caption: trans.__('Explain this cell'),
    isVisible: isCode,
    describedBy: CELL_ARGUMENT
  });
  add(CommandIDs.fix, trans.__('Fix Error'), task('fix'), {
    icon: fixIcon,
    caption: trans.__('Fix the error in this cell'),
    // shown only if the active cell's last run failed
    isVisible: () => !!active()?.error,
    describedBy: CELL_ARGUMENT
  });
  add(CommandIDs.document, trans.__('Document Cell'), task('doc'), {
    icon: documentIcon,
    caption: trans.__('Add docstrings and comments'),
    isVisible: isCode,
    describedBy: CELL_ARGUMENT
  });
  add(CommandIDs.refactor, trans.__('Refactor Cell'), task('refactor'), {
    icon: refreshIcon,
    caption: trans.__('Make this cell clearer'),
    isVisible: isCode,
    describedBy: CELL_ARGUMENT
  });
  const explainOutput = async (
    cell: ICellView | null,
    output: unknown
  ): Promise<void> => {
    const panel = assistant.notebook;
    const plot =
      panel && cell && typeof output === 'number'
        ? plotAt(panel, cell.index, output)
        : null;
    reveal();
    await assistant.run('plot', { cell, plot });
  };
  add(
    CommandIDs.explainPlot,
    trans.__('Explain Plot'),
    args => explainOutput(chosen(args), args.output),
    {
      icon: plotIcon,
      caption: trans.__('Explain the plot in this cell'),
      isVisible: () => (active()?.plots.length ?? 0) > 0,
      describedBy: OUTPUT_ARGUMENT
    }
  );
  // a command of its own: the last right click is remembered and must not show buttons elsewhere
  add(
    CommandIDs.explainImage,
    trans.__('Explain Plot'),
    async () => {
      const node = image();
      const panel = assistant.notebook;
      const hit = node && panel ? outputAt(panel, node) : null;
      await explainOutput(hit?.cell ?? null, hit?.output);
    },
    { icon: plotIcon, isListed: false, isVisible: () => image() !== null }
  );

  // toolbars check isVisible only after commandChanged
  const refresh = (): void =>
    ids.forEach(id => commands.notifyCommandChanged(id));
  tracker?.activeCellChanged.connect(refresh);
  NotebookActions.executed.connect(() => {
    refresh();
    void assistant.context.variables.read();
  });
}
