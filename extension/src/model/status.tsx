/** The model's state in the status bar; a click opens the panel. */
import { ReactWidget } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import React from 'react';
import { ModelHost } from './model';
import { mistralIcon } from '../icons';
import { stateText } from '../panel/models/card';
import { useSignal } from '../panel/services';

export class StatusItem extends ReactWidget {
  constructor(
    private _host: ModelHost,
    private _trans: TranslationBundle,
    private _open: () => void
  ) {
    super();
    this.addClass('jp-MistralStatus');
  }

  render(): JSX.Element {
    return <Item host={this._host} trans={this._trans} onClick={this._open} />;
  }
}

function Item(props: {
  host: ModelHost;
  trans: TranslationBundle;
  onClick: () => void;
}): JSX.Element {
  const { host, trans } = props;
  useSignal(host.changed);
  const { status } = host;
  const progress = host.progress ?? status?.progress;
  const text =
    host.isLoading && progress?.fraction
      ? `${trans.__('Loading')} ${Math.round(progress.fraction * 100)} %`
      : status?.state === 'ready'
        ? (status.model?.title ?? '')
        : '';
  const title = `${trans.__('Mistral')}: ${stateText(status, trans)}`;
  return (
    <button
      type="button"
      title={title}
      aria-label={title}
      onClick={props.onClick}
    >
      <mistralIcon.react tag="span" width="14px" />
      <span
        className={`jp-MistralDot jp-mod-${host.isLoading ? 'loading' : (status?.state ?? 'gone')}`}
        aria-hidden="true"
      />
      <span>{text}</span>
    </button>
  );
}
