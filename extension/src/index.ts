/** The plugins, and how their parts are connected. */
import {
  ILayoutRestorer,
  JupyterFrontEnd,
  JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { ICompletionProviderManager } from '@jupyterlab/completer';
import { ILauncher } from '@jupyterlab/launcher';
import { INotebookTracker } from '@jupyterlab/notebook';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator } from '@jupyterlab/translation';
import { IFormRendererRegistry } from '@jupyterlab/ui-components';
import { Token } from '@lumino/coreutils';
import { Assistant } from './chat/assistant';
import { Chats } from './chat/chats';
import { addCommands, CommandIDs } from './commands';
import { GhostText } from './ghost/completer';
import { Context } from './context/context';
import { Model } from './model/model';
import { watchKernels } from './notebook/kernel';
import { outputAt } from './notebook/notebook';
import { addOutputButtons, plotButton } from './notebook/output_buttons';
import { Instructions } from './panel/instructions';
import { MistralPanel } from './panel/panel';
import { watchPlots } from './notebook/plot_buttons';
import { asText, Scope } from './api/protocol';
import { Server } from './api/request';
import { answerRendermime } from './text/sanitize';
import { StatusItem } from './model/status';
import { setTranslator, trans } from './translation';
import { sendByEnter } from './widgets';

const PLUGIN = 'jupyter-mistral:plugin';

/** Shared by the plugins of this extension. */
interface IMistral {
  server: Server;
  model: Model;
}
const IMistral = new Token<IMistral>(
  'jupyter-mistral:IMistral',
  'The server extension of Jupyter Mistral, and its model.'
);

const core: JupyterFrontEndPlugin<IMistral> = {
  id: 'jupyter-mistral:core',
  description: 'The connection to the model.',
  autoStart: true,
  provides: IMistral,
  optional: [ITranslator],
  activate: (app: JupyterFrontEnd, translator: ITranslator | null) => {
    setTranslator(translator);
    const server = new Server(app.serviceManager.serverSettings);
    return { server, model: new Model(server) };
  }
};

const panel: JupyterFrontEndPlugin<void> = {
  id: PLUGIN,
  description: 'The chat panel, and buttons on cells and outputs.',
  autoStart: true,
  requires: [IMistral, IRenderMimeRegistry],
  optional: [
    INotebookTracker,
    ISettingRegistry,
    ICommandPalette,
    ILayoutRestorer,
    ILauncher,
    IStatusBar,
    IFormRendererRegistry
  ],
  activate: (
    app: JupyterFrontEnd,
    mistral: IMistral,
    rendermime: IRenderMimeRegistry,
    tracker: INotebookTracker | null,
    settings: ISettingRegistry | null,
    palette: ICommandPalette | null,
    restorer: ILayoutRestorer | null,
    launcher: ILauncher | null,
    statusBar: IStatusBar | null,
    forms: IFormRendererRegistry | null
  ) => {
    const { server, model } = mistral;
    const context = new Context(server, tracker);
    const chats = new Chats(
      server,
      window.sessionStorage,
      () => context.notebook?.context.path ?? null
    );
    const assistant = new Assistant(chats, context, model);
    const widget = new MistralPanel({
      assistant,
      rendermime: answerRendermime(rendermime),
      contents: app.serviceManager.contents,
      trans,
      download: path => server.download(path),
      upload: (path, bytes) => server.stream('POST', path, bytes)
    });
    // Notebook 7's right area has no tab bar: there the `open` command shows the panel
    app.shell.add(widget, 'right', { rank: 600, type: 'Assistant' });
    restorer?.add(widget, widget.id);
    const reveal = (): void => app.shell.activateById(widget.id);

    addCommands({ app, assistant, tracker, palette, trans, reveal });
    launcher?.add({
      command: CommandIDs.open,
      category: trans.__('Other'),
      rank: 1
    });
    sendByEnter(trans.__('Enter sends. Shift+Enter inserts a new line.'));
    const run = (command: string, node: Node): void => {
      const notebook = assistant.notebook;
      const { cell, output = -1 } =
        (notebook && outputAt(notebook, node)) ?? {};
      void app.commands.execute(command, { cell: cell?.id ?? '', output });
    };
    const explainPlot = (node: Node): void => run(CommandIDs.explainPlot, node);
    addOutputButtons(
      rendermime,
      {
        fix: node => run(CommandIDs.fix, node),
        explain: node => run(CommandIDs.explain, node),
        explainPlot
      },
      trans
    );
    if (tracker) {
      watchKernels(tracker);
      watchPlots(tracker, () => plotButton(explainPlot, trans));
    }
    if (statusBar) {
      statusBar.registerStatusItem('jupyter-mistral:status', {
        item: new StatusItem(model, trans, reveal),
        align: 'right',
        rank: 90
      });
    }
    forms?.addRenderer(`${PLUGIN}.instructions`, {
      fieldRenderer: Instructions
    });
    void settings?.load(PLUGIN).then(loaded => {
      const apply = (): void => {
        const composite = (name: string): unknown => loaded.get(name).composite;
        context.scope = (asText(composite('defaultContext')) ||
          'notebook') as Scope;
        context.instructions = asText(composite('instructions'));
        context.set('variables', composite('sendVariables') !== false);
        assistant.sampling = {
          max_tokens: composite('maxTokens'),
          temperature: composite('temperature')
        };
      };
      apply();
      loaded.changed.connect(apply);
    });
  }
};

const completer: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-mistral:completer',
  description: 'Inline suggestions from the local model.',
  autoStart: true,
  requires: [IMistral, ICompletionProviderManager],
  optional: [ISettingRegistry],
  activate: (
    _app: JupyterFrontEnd,
    mistral: IMistral,
    manager: ICompletionProviderManager,
    settings: ISettingRegistry | null
  ) => {
    const { server, model } = mistral;
    const ghost = new GhostText(trans.__('Mistral'), server, model);
    manager.registerInlineProvider(ghost);
    void settings?.load(PLUGIN).then(loaded => {
      const apply = (): void => {
        ghost.isEnabled = loaded.get('ghostText').composite !== false;
        ghost.maxTokens = Number(loaded.get('ghostTextTokens').composite) || 96;
      };
      apply();
      loaded.changed.connect(apply);
    });
  }
};

export default [core, panel, completer];
