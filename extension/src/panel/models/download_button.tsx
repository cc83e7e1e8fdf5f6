/** Downloads and loads the default model, after a dialog. */
import React from 'react';
import { Button } from '../controls';
import { bytes } from '../format';
import { useServices, useSignal } from '../services';
import { loadAsked } from './catalogue';

export function DownloadButton(): JSX.Element {
  const services = useServices();
  const { assistant, trans } = services;
  const { model } = assistant;
  useSignal(model.changed);
  const size = model.row(model.status?.default_model ?? '')?.downloadBytes;
  return (
    <Button
      kind="primary"
      disabled={model.isLoading}
      onClick={() => void loadAsked(services, null)}
    >
      {size ? trans.__('Download %1', bytes(size)) : trans.__('Download…')}
    </Button>
  );
}
