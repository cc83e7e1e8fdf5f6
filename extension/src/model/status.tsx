/** The model's state in the status bar; a click opens the panel. */
import { ReactWidget } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import React from 'react';
import { Model } from './model';
import { mistralIcon } from '../icons';
import { stateText } from '../panel/models/card';
import { useSignal } from '../panel/services';

export class StatusItem extends ReactWidget {
  constructor(
    private _model: Model,
    private _trans: TranslationBundle,
    private _open: () => void
  ) {
    super();
    this.addClass('jp-MistralStatus');
  }

  render(): JSX.Element {
    return (
      <Item model={this._model} trans={this._trans} onClick={this._open} />
    );
  }
}

function Item(props: {
  model: Model;
  trans: TranslationBundle;
  onClick: () => void;
}): JSX.Element {
  const { model, trans } = props;
  useSignal(model.changed);
  const { status } = model;
  const progress = model.progress ?? status?.progress;
  const text =
    model.isLoading && progress?.fraction
      ? trans.__('Loading %1 %', Math.round(progress.fraction * 100))
      : status?.state === 'ready'
        ? (status.model?.title ?? '')
        : '';
  const title = trans.__('Mistral: %1', stateText(status, trans));
  return (
    <button
      type="button"
      title={title}
      aria-label={title}
      onClick={props.onClick}
    >
      <mistralIcon.react tag="span" width="14px" />
      <span
        className={`jp-MistralDot jp-mod-${model.isLoading ? 'loading' : (status?.state ?? 'gone')}`}
        aria-hidden="true"
      />
      <span>{text}</span>
    </button>
  );
}
