/** The model card: name, memory and network access of the model; load, unload and choose another. */
import { caretDownIcon, caretRightIcon } from '@jupyterlab/ui-components';
import React, { useState } from 'react';
import { sealIcon } from '../../icons';
import { ILoading, IStatus } from '../../api/protocol';
import { Catalogue, loadAsked } from './catalogue';
import { bytes, count, joules, seconds } from '../format';
import { MemoryBar } from './memory_bar';
import { Button, FailureNote, ProgressBar } from '../controls';
import { IServices, useServices, useSignal } from '../services';

export function ModelCard(): JSX.Element {
  const services = useServices();
  const { assistant, trans } = services;
  const { model } = assistant;
  useSignal(model.changed);
  const [isOpen, setOpen] = useState(false);
  const { status } = model;
  const progress = model.progress ?? status?.progress ?? null;
  const name = status
    ? (status.model?.title ??
      model.row(status.default_model)?.title ??
      status.default_model)
    : stateText(null, trans);
  return (
    <section className="jp-MistralCard" aria-label={trans.__('Model')}>
      <button
        type="button"
        className="jp-MistralCard-head"
        aria-expanded={isOpen}
        onClick={() => setOpen(!isOpen)}
      >
        <span
          className={`jp-MistralDot jp-mod-${model.isLoading ? 'loading' : (status?.state ?? 'gone')}`}
          aria-hidden="true"
        />
        <span className="jp-MistralCard-name" title={name}>
          {name}
        </span>
        {status?.model?.quantization && (
          <span className="jp-MistralBadge">{bits(status, trans)}</span>
        )}
        {status && isSealed(status) && (
          <span
            className="jp-MistralBadge jp-mod-seal"
            title={trans.__(
              'The model process has no network access (verified from inside).'
            )}
          >
            <sealIcon.react tag="span" width="12px" />
            <em>{trans.__('sealed')}</em>
          </span>
        )}
        {status && isOutside(status) && (
          <span
            className="jp-MistralBadge jp-mod-outside"
            title={trans.__('Questions and their context are sent there.')}
          >
            {status.seal.reason}
          </span>
        )}
        {isOpen ? (
          <caretDownIcon.react tag="span" width="16px" />
        ) : (
          <caretRightIcon.react tag="span" width="16px" />
        )}
      </button>
      {model.isLoading && <LoadProgress progress={progress} />}
      {isOpen && <Details />}
      {status && model.failure && <FailureNote failure={model.failure} />}
    </section>
  );
}

type Trans = IServices['trans'];

function bits(status: IStatus, trans: Trans): string {
  const kind = /4/.test(status.model?.quantization ?? '')
    ? trans.__('4-bit')
    : (status.model?.quantization ?? '');
  const kv = status.model?.kv ?? '';
  return kv && kv !== 'bf16' ? `${kind}, KV ${kv}` : kind;
}

/** Whether another program answers, on this or another machine; `seal.reason` says where. */
function isOutside(status: IStatus): boolean {
  return status.seal.kind === 'outside';
}

function isSealed(status: IStatus): boolean {
  return status.seal.kind !== 'none' && status.seal.measured;
}

/** Returns the GPU's name, and its power and temperature if they are measured. */
function gpuText(memory: IStatus['memory']): string {
  const { gpu, power_w: power, temperature_c: temperature } = memory;
  return [
    gpu,
    power === null ? '' : `${Math.round(power)}\u00a0W`,
    temperature === null ? '' : `${temperature}\u00a0°C`
  ]
    .filter(Boolean)
    .join(' · ');
}

export function stateText(status: IStatus | null, trans: Trans): string {
  switch (status?.state) {
    case 'ready':
      return status.running ? trans.__('Answering') : trans.__('Loaded');
    case 'parked':
      return trans.__('GPU released. The next question reloads the model.');
    case 'loading':
      return trans.__('Loading');
    case 'unloaded':
      return trans.__('Not loaded. It loads with your first question.');
    case 'absent':
      return trans.__('Not downloaded yet');
    case 'failed':
      return trans.__('Failed to load');
    default:
      return trans.__('Disconnected');
  }
}

function LoadProgress(props: { progress: ILoading | null }): JSX.Element {
  const { assistant, trans } = useServices();
  const { progress } = props;
  const stages: Record<string, string> = {
    download: trans.__('Downloading'),
    quantize: trans.__('Quantizing to 4-bit'),
    load: trans.__('Loading'),
    warm: trans.__('Warming up')
  };
  const stage = stages[progress?.stage ?? 'load'] ?? stages.load;
  const percent =
    progress?.fraction === null || progress?.fraction === undefined
      ? ''
      : ` ${Math.round(progress.fraction * 100)} %`;
  const left = progress?.eta_s
    ? ` · ${trans.__('%1 left', seconds(progress.eta_s))}`
    : '';
  return (
    <div className="jp-MistralLoad">
      <div className="jp-MistralLoad-text" title={progress?.detail}>
        {stage}
        {percent}
        {left}
      </div>
      <ProgressBar fraction={progress?.fraction ?? null} label={stage} />
      {assistant.model.canCancel && (
        <Button onClick={() => assistant.model.cancelLoad()}>
          {trans.__('Cancel')}
        </Button>
      )}
    </div>
  );
}

function Details(): JSX.Element {
  const services = useServices();
  const { assistant, trans } = services;
  const { model } = assistant;
  const [isChoosing, setChoosing] = useState(false);
  const { status } = model;
  return (
    <div className="jp-MistralCard-body">
      <dl>
        <dt>{trans.__('State')}</dt>
        <dd>{stateText(status, trans)}</dd>
        {status?.model && (
          <>
            <dt>{trans.__('Context')}</dt>
            <dd>{trans.__('%1 tokens', count(status.model.context_length))}</dd>
            <dt>{trans.__('License')}</dt>
            <dd>{status.model.licence}</dd>
          </>
        )}
        {status && (
          <>
            <dt>{trans.__('Network')}</dt>
            <dd title={status.seal.reason || status.seal.kind}>
              {sealText(status, trans)}
            </dd>
          </>
        )}
        {status?.memory.gpu && (
          <>
            <dt>{trans.__('GPU')}</dt>
            <dd>{gpuText(status.memory)}</dd>
          </>
        )}
        {!!status?.memory.spilled && (
          <>
            <dt>{trans.__('Offloaded to RAM')}</dt>
            <dd>{bytes(status.memory.spilled)}</dd>
          </>
        )}
        {status?.last && (
          <>
            <dt>{trans.__('Last answer')}</dt>
            <dd>
              {trans.__(
                '%1 tokens/s',
                status.last.tokens_per_second.toFixed(1)
              )}
              {status.last.energy_j !== null &&
                ` · ${joules(status.last.energy_j)}`}
            </dd>
          </>
        )}
      </dl>
      {status && status.memory.total > 0 && (
        <MemoryBar memory={status.memory} />
      )}
      <div className="jp-MistralRow">
        {status?.state === 'ready' ? (
          !isOutside(status) && (
            <Button
              disabled={model.isLoading}
              onClick={() => void model.unload()}
            >
              {trans.__('Unload')}
            </Button>
          )
        ) : (
          <Button
            kind="primary"
            disabled={model.isLoading || !status}
            onClick={() => void loadAsked(services, null)}
          >
            {status?.state === 'absent'
              ? trans.__('Download and load…')
              : trans.__('Load')}
          </Button>
        )}
        <Button onClick={() => setChoosing(!isChoosing)}>
          {isChoosing ? trans.__('Hide models') : trans.__('Other models…')}
        </Button>
      </div>
      {isChoosing && <Catalogue />}
    </div>
  );
}

function sealText(status: IStatus, trans: Trans): string {
  if (isSealed(status)) {
    return trans.__('Blocked (verified)');
  }
  if (isOutside(status)) {
    return status.seal.reason;
  }
  return status.worker_pid === null
    ? trans.__('Checked once the model is running')
    : trans.__('Not blocked');
}
