/** The side panel as a JupyterLab widget. */
import { ReactWidget } from '@jupyterlab/apputils';
import { Message } from '@lumino/messaging';
import React from 'react';
import { mistralIcon } from '../icons';
import { App } from './app';
import { IServices } from './services';

export class MistralPanel extends ReactWidget {
  constructor(private _services: Omit<IServices, 'report'>) {
    super();
    const { trans, assistant } = _services;
    this.id = 'jupyter-mistral-panel';
    this.addClass('jp-Mistral');
    this.title.icon = mistralIcon;
    this.title.caption = trans.__('Mistral');
    this.node.setAttribute('role', 'complementary');
    this.node.setAttribute('aria-label', trans.__('Mistral'));
    this._stopPolling = assistant.model.poll(() => this.isVisible);
    window.addEventListener('focus', this._onFocus);
  }

  render(): JSX.Element {
    return <App services={this._services} />;
  }

  dispose(): void {
    this._stopPolling();
    window.removeEventListener('focus', this._onFocus);
    super.dispose();
  }

  protected onActivateRequest(_: Message): void {
    // no MessageLoop.flush() in a message handler: it is not re-entrant
    this.node
      .querySelector<HTMLElement>('.jp-MistralComposer textarea')
      ?.focus();
  }

  protected onAfterShow(message: Message): void {
    super.onAfterShow(message);
    const { assistant } = this._services;
    void assistant.model.refresh();
    void (this._isRestored
      ? assistant.chats.refresh()
      : assistant.chats.restore());
    void assistant.context.variables.read();
    this._isRestored = true;
  }

  /** Reads what another tab has asked meanwhile. */
  private _onFocus = (): void => {
    if (this.isVisible && this._isRestored) {
      void this._services.assistant.chats.refresh();
    }
  };
  private _isRestored = false;
  private _stopPolling: () => void;
}
