/** The start page: what is ready, what is not, and what to do about it. */
import { checkIcon } from '@jupyterlab/ui-components';
import React, { useEffect } from 'react';
import { stateText } from './card';
import { loadAsked } from './catalogue';
import { DownloadButton } from './download_button';
import { bytes } from '../format';
import { Button } from '../controls';
import { IServices, useServices, useSignal } from '../services';

interface IItem {
  state: 'ok' | 'warn' | 'blocked' | 'later';
  text: string;
  next?: string;
  action?: JSX.Element;
}

const SIGNS = { ok: '', warn: '!', blocked: '✕', later: '…' };

export function Readiness(): JSX.Element {
  const services = useServices();
  const { assistant, trans } = services;
  const { model } = assistant;
  useSignal(model.changed);
  useSignal(assistant.context.changed);
  useEffect(() => {
    void model.readCatalogue();
  }, []);
  const modelState = model.status?.state;
  // the results depend on what is downloaded and loaded
  useEffect(() => {
    if (modelState && modelState !== 'loading') {
      void model.readChecks();
    }
  }, [modelState]);
  const items = [...modelItems(services), ...checkItems(services)];
  const open = items.filter(item => item.state !== 'ok');
  const passed = items.filter(item => item.state === 'ok');
  const isReady = items.every(item => item.state !== 'blocked');
  return (
    <div className="jp-MistralReadiness">
      <h2>
        {isReady
          ? trans.__('Ask about your notebook')
          : model.status
            ? trans.__('Almost ready')
            : trans.__('Disconnected')}
      </h2>
      <p>{promise(services)}</p>
      {open.length > 0 && <Items items={open} />}
      {passed.length > 0 && (
        <details className="jp-MistralReadiness-fine" open={!isReady}>
          <summary>
            {open.length
              ? trans._n('1 check passed', '%1 checks passed', passed.length)
              : trans._n(
                  'The check passed',
                  'All %1 checks passed',
                  passed.length
                )}
          </summary>
          <Items items={passed} />
        </details>
      )}
      {!isReady && (
        <Button
          onClick={() => {
            void model.refresh();
            void model.readChecks();
          }}
        >
          {trans.__('Check again')}
        </Button>
      )}
      {isReady && <Starters />}
    </div>
  );
}

/** Says where text is sent, once that is known, and that no code runs unasked. */
function promise({ assistant, trans }: IServices): string {
  const seal = assistant.model.status?.seal;
  if (!seal) {
    return trans.__('No code runs unless you run it.');
  }
  return seal.kind === 'outside'
    ? trans.__(
        'Answers come from another program (%1), which receives your questions and their context. No code runs unless you run it.',
        seal.reason
      )
    : trans.__(
        'The model runs on the same machine as this Jupyter server. Nothing you write leaves it, and no code runs unless you run it.'
      );
}

function Items(props: { items: IItem[] }): JSX.Element {
  return (
    <ul>
      {props.items.map(item => (
        <li key={item.text} className={`jp-mod-${item.state}`}>
          <span className="jp-MistralReadiness-sign" aria-hidden="true">
            {item.state === 'ok' ? (
              <checkIcon.react tag="span" width="14px" />
            ) : (
              SIGNS[item.state]
            )}
          </span>
          <div>
            <div>{item.text}</div>
            {item.next && (
              <div className="jp-MistralReadiness-next">{item.next}</div>
            )}
            {item.action}
          </div>
        </li>
      ))}
    </ul>
  );
}

/** The server and its model. */
function modelItems(services: IServices): IItem[] {
  const { assistant, trans } = services;
  const { model } = assistant;
  const { status } = model;
  if (!status) {
    return [
      model.failure
        ? {
            state: 'blocked',
            text: model.failure.message,
            next: model.failure.todo
          }
        : { state: 'later', text: trans.__('Connecting to the server…') }
    ];
  }
  const row = model.row(status.model?.name ?? status.default_model);
  const title = row?.title ?? status.default_model;
  const items: IItem[] = [
    {
      state: 'ok',
      text: trans.__('Server extension running (%1)', status.version)
    }
  ];
  if (status.state === 'absent') {
    items.push({
      state: 'blocked',
      text: trans.__('%1 is not downloaded yet', title),
      next: row?.downloadBytes
        ? trans.__('One-time download: %1', bytes(row.downloadBytes))
        : undefined,
      action: <DownloadButton />
    });
  } else if (status.state === 'ready') {
    items.push({
      state: 'ok',
      text:
        status.seal.kind === 'outside'
          ? trans.__('Connected to %1 (%2)', title, status.seal.reason)
          : trans.__('%1 is loaded (4-bit)', title)
    });
  } else {
    items.push({
      state: status.state === 'failed' ? 'blocked' : 'later',
      text: stateText(status, trans),
      next: status.failure?.sentence,
      action: (
        <Button
          kind="primary"
          disabled={model.isLoading}
          onClick={() => void loadAsked(services, null)}
        >
          {trans.__('Load now')}
        </Button>
      )
    });
  }
  return items;
}

/** The results of `jupyter mistral doctor`; an absent model is listed above. */
function checkItems({ assistant, trans }: IServices): IItem[] {
  const { checks, status } = assistant.model;
  if (!status) {
    return [];
  }
  if (!checks) {
    return [{ state: 'later', text: trans.__('Checking this machine…') }];
  }
  const names: Record<string, string> = {
    python: trans.__('Python'),
    engine: trans.__('Engine'),
    gpu: trans.__('GPU'),
    cpu: trans.__('Processor'),
    folder: trans.__('Folder'),
    memory: trans.__('Memory'),
    disk: trans.__('Disk'),
    model: trans.__('Weights'),
    seal: trans.__('Network'),
    server: trans.__('Server extension'),
    panel: trans.__('Panel'),
    host: trans.__('Model host')
  };
  return checks
    .filter(check => check.name !== 'model' || status.state !== 'absent')
    .map(({ name, state, result, todo }) => ({
      state,
      text: `${names[name] ?? name}: ${result}`,
      next: todo || undefined
    }));
}

/** Suggested first questions. */
function Starters(): JSX.Element | null {
  const services = useServices();
  const { assistant, trans } = services;
  if (!assistant.notebook) {
    return (
      <p className="jp-MistralReadiness-hint">
        {trans.__('Open a notebook, or ask anything.')}
      </p>
    );
  }
  const questions = [
    trans.__('What does this notebook do?'),
    trans.__('What should I look at next?')
  ];
  return (
    <div className="jp-MistralStarters">
      {questions.map(question => (
        <Button
          key={question}
          disabled={assistant.chat.isBusy}
          onClick={() => {
            void assistant.send(question).catch(services.report);
          }}
        >
          {question}
        </Button>
      ))}
      <p className="jp-MistralReadiness-hint">
        {trans.__('Type / for commands and @ for cells, variables and files.')}
      </p>
    </div>
  );
}
