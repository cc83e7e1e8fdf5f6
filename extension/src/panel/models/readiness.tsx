/** Before the first question: what is ready, what is not, and the next step for each. */
import { checkIcon } from '@jupyterlab/ui-components';
import React, { useEffect } from 'react';
import { stateText } from './card';
import { loadAsked } from './catalogue';
import { bytes } from '../format';
import { Button } from '../controls';
import { IServices, useServices, useSignal } from '../services';

interface IItem {
  state: 'ok' | 'warn' | 'blocked' | 'later';
  text: string;
  next?: string;
  action?: { label: string; run: () => void };
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
  // what is on disk or in memory changes what the checks find
  useEffect(() => {
    if (modelState && modelState !== 'loading') {
      void model.readChecks();
    }
  }, [modelState]);
  const items = [...modelItems(services), ...checkItems(services)];
  const open = items.filter(item => item.state !== 'ok');
  const fine = items.filter(item => item.state === 'ok');
  const isReady = items.every(item => item.state !== 'blocked');
  return (
    <div className="jp-MistralReadiness">
      <h2>
        {isReady
          ? trans.__('Ask about your notebook')
          : trans.__('Almost ready')}
      </h2>
      <p>{promise(services)}</p>
      {open.length > 0 && <Items items={open} />}
      {fine.length > 0 && (
        <details className="jp-MistralReadiness-fine" open={!isReady}>
          <summary>
            {trans._n('1 check is fine', '%1 checks are fine', fine.length)}
          </summary>
          <Items items={fine} />
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

/** What holds wherever text goes, and where it goes once that is known. */
function promise({ assistant, trans }: IServices): string {
  const seal = assistant.model.status?.seal;
  if (!seal) {
    return trans.__('No code runs unless you run it.');
  }
  return seal.kind === 'outside'
    ? trans.__(
        'Another program answers (%1): what you write and what is read with it go there. No code runs unless you run it.',
        seal.reason
      )
    : trans.__(
        'The model runs on the machine of this Jupyter server. Nothing you write leaves it, and no code runs unless you run it.'
      );
}

function Items(props: { items: IItem[] }): JSX.Element {
  const { assistant } = useServices();
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
            {item.action && (
              <Button
                kind="primary"
                disabled={assistant.model.isLoading}
                onClick={item.action.run}
              >
                {item.action.label}
              </Button>
            )}
          </div>
        </li>
      ))}
    </ul>
  );
}

/** The server and its model, as the status tells. */
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
        : { state: 'later', text: trans.__('Asking the server…') }
    ];
  }
  const row = model.row(status.model?.name ?? status.default_model);
  const title = row?.title ?? status.default_model;
  const load = (): void => void loadAsked(services, null);
  const items: IItem[] = [
    {
      state: 'ok',
      text: trans.__('The server part runs, version %1', status.version)
    }
  ];
  if (status.state === 'absent') {
    items.push({
      state: 'blocked',
      text: trans.__('%1 is not on this machine', title),
      next: row?.downloadBytes
        ? trans.__('%1 are downloaded once.', bytes(row.downloadBytes))
        : undefined,
      action: { label: trans.__('Download…'), run: load }
    });
  } else if (status.state === 'ready') {
    items.push({
      state: 'ok',
      text:
        status.seal.kind === 'outside'
          ? trans.__('%1 answers (%2)', title, status.seal.reason)
          : trans.__('%1 is loaded, in 4 bit', title)
    });
  } else {
    items.push({
      state: status.state === 'failed' ? 'blocked' : 'later',
      text: stateText(status, trans),
      next: status.failure?.sentence,
      action: { label: trans.__('Load now'), run: load }
    });
  }
  return items;
}

/** What `jupyter mistral doctor` finds; the model is spoken of above, by what is known this moment. */
function checkItems({ assistant, trans }: IServices): IItem[] {
  const { checks, status } = assistant.model;
  if (!status) {
    return [];
  }
  if (!checks) {
    return [{ state: 'later', text: trans.__('Looking at this machine…') }];
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
    seal: trans.__('Network seal'),
    server: trans.__('Server part'),
    panel: trans.__('Panel'),
    host: trans.__('Model host')
  };
  return checks
    .filter(check => check.name !== 'model' || status.state !== 'absent')
    .map(({ name, state, found, todo }) => ({
      state,
      text: `${names[name] ?? name}: ${found}`,
      next: todo || undefined
    }));
}

/** First questions, one click away. */
function Starters(): JSX.Element | null {
  const services = useServices();
  const { assistant, trans } = services;
  if (!assistant.notebook) {
    return (
      <p className="jp-MistralReadiness-hint">
        {trans.__('Open a notebook, or just ask.')}
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
        {trans.__('Type / for tasks, @ for cells, variables and files.')}
      </p>
    </div>
  );
}
