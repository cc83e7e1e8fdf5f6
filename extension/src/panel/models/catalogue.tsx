/** The other models there are, and loading one; what is to be downloaded is asked about first. */
import { Dialog, showDialog } from '@jupyterlab/apputils';
import React, { useEffect, useState } from 'react';
import { ICatalogueRow } from '../../model/model';
import { Failure } from '../../protocol';
import { bytes } from '../format';
import { Button } from '../controls';
import { attempt, IServices, useServices, useSignal } from '../services';

export function Catalogue(): JSX.Element {
  const services = useServices();
  const { model } = services.assistant;
  useSignal(model.changed);
  useEffect(() => {
    void model.readCatalogue();
  }, []);
  const { trans } = services;
  const [query, setQuery] = useState('');
  const rows = model.catalogue.filter(row => holds(row, query));
  return (
    <div className="jp-MistralCatalogue">
      <input
        type="search"
        dir="auto"
        value={query}
        placeholder={trans.__('Search in models')}
        aria-label={trans.__('Search in models')}
        onChange={event => setQuery(event.target.value)}
      />
      <ul>
        {rows.map(row => (
          <CatalogueItem key={row.name} row={row} />
        ))}
      </ul>
      {!rows.length && model.catalogue.length > 0 && (
        <p className="jp-MistralReadiness-hint">
          {trans.__('No model of the list is like that; name one below.')}
        </p>
      )}
      <OtherModel />
    </div>
  );
}

/** Every word of the query stands somewhere in the row. */
function holds(row: ICatalogueRow, query: string): boolean {
  const text = [row.title, row.name, row.licence, row.note, ...row.can]
    .join(' ')
    .toLowerCase();
  return query
    .toLowerCase()
    .split(/\s+/)
    .every(word => text.includes(word));
}

/** A model that is not in the list: of Hugging Face by its id, or in a folder of the server. */
function OtherModel(): JSX.Element {
  const services = useServices();
  const { assistant, trans } = services;
  const [name, setName] = useState('');
  const wanted = name.trim();
  const load = (): void => {
    if (wanted) {
      attempt(services, () => loadOther(services, wanted));
    }
  };
  return (
    <form
      className="jp-MistralOther"
      onSubmit={event => {
        event.preventDefault();
        load();
      }}
    >
      <label>
        {trans.__('Another model')}
        <input
          type="text"
          dir="ltr"
          spellCheck={false}
          value={name}
          placeholder={trans.__('organisation/model or /folder')}
          onChange={event => setName(event.target.value)}
        />
      </label>
      <Button disabled={!wanted || assistant.model.isLoading} onClick={load}>
        {trans.__('Load')}
      </Button>
    </form>
  );
}

const HUB_ID = /^[\w.-]+\/[\w.-]+$/;
const FOLDER = /^(\/|~|\.{1,2}\/|[A-Za-z]:\\|\\\\)/;

/** A folder is read as it is; what would come from the network is asked about first. */
async function loadOther(services: IServices, name: string): Promise<void> {
  const { assistant, trans } = services;
  const known = assistant.model.row(name.toLowerCase());
  if (known) {
    await loadAsked(services, known);
    return;
  }
  const isFolder = FOLDER.test(name);
  if (!isFolder && !HUB_ID.test(name)) {
    throw new Failure(
      'unknown_model',
      trans.__('%1 is neither a model id nor a folder.', name),
      trans.__('Write organisation/model, or the whole path of a folder.')
    );
  }
  if (!isFolder) {
    const { button } = await showDialog({
      title: trans.__('Load %1?', name),
      body: trans.__(
        'What of it is not on this machine yet is downloaded from Hugging Face. Only weights and texts are read, never code.'
      ),
      buttons: [
        Dialog.cancelButton(),
        Dialog.okButton({ label: trans.__('Download and load') })
      ],
      defaultButton: 0
    });
    if (!button.accept) {
      return;
    }
  }
  await assistant.model.load(name, !isFolder);
}

function CatalogueItem(props: { row: ICatalogueRow }): JSX.Element {
  const services = useServices();
  const { trans, assistant } = services;
  const { row } = props;
  const isCurrent =
    assistant.model.isReady && assistant.model.status?.model?.name === row.name;
  const fit =
    row.state === 'external'
      ? trans.__('external engine')
      : row.fits === 'no'
        ? trans.__('does not fit')
        : row.fits === 'gpu'
          ? trans.__('fits the GPU')
          : trans.__('fits the memory');
  const size =
    row.state === 'ready' || row.state === 'on disk'
      ? trans.__('on disk')
      : trans.__('%1 to download', bytes(row.downloadBytes));
  return (
    <li>
      <div>
        <div className="jp-MistralCatalogue-title">
          <strong>{row.title}</strong>
          {row.can.includes('image') && (
            <span className="jp-MistralBadge">{trans.__('sees')}</span>
          )}
          {row.can.includes('reasoning') && (
            <span className="jp-MistralBadge">{trans.__('reasons')}</span>
          )}
        </div>
        <div className="jp-MistralCatalogue-facts">
          <span
            className={row.fits === 'no' ? 'jp-mod-no' : 'jp-mod-yes'}
            title={row.reason}
          >
            {fit}
          </span>
          {' · '}
          {size}
          {' · '}
          {row.licence}
        </div>
        {row.note && (
          <div className="jp-MistralCatalogue-facts">{row.note}</div>
        )}
      </div>
      {isCurrent ? (
        <span className="jp-MistralBadge">{trans.__('loaded')}</span>
      ) : (
        row.state !== 'external' && (
          <Button
            disabled={assistant.model.isLoading}
            onClick={() => void loadAsked(services, row)}
          >
            {trans.__('Load')}
          </Button>
        )
      )}
    </li>
  );
}

/** Load a model, null for the default one; what has to be downloaded, or does not fit, is asked about first. */
export async function loadAsked(
  services: IServices,
  wanted: ICatalogueRow | null
): Promise<void> {
  const { assistant, trans } = services;
  const { model } = assistant;
  if (!model.catalogue.length) {
    await model.readCatalogue();
  }
  const name = wanted?.name ?? model.status?.default_model ?? '';
  const row = wanted ?? model.row(name);
  const isAbsent = row
    ? row.state === 'absent' || row.state === 'damaged'
    : model.status?.state === 'absent';
  if (isAbsent || row?.fits === 'no') {
    const size = row?.downloadBytes ? bytes(row.downloadBytes) : '';
    const sentences = [
      isAbsent
        ? trans.__(
            'Its weights are not on this machine: %1 will be downloaded.',
            size || trans.__('they')
          )
        : '',
      row?.isGated
        ? trans.__('Its makers ask you to accept their licence first.')
        : '',
      row?.fits === 'no' ? row.reason : ''
    ];
    const { button } = await showDialog({
      title: trans.__('Load %1?', row?.title ?? name),
      body: sentences.filter(Boolean).join(' '),
      buttons: [
        Dialog.cancelButton(),
        Dialog.okButton({
          label: isAbsent ? trans.__('Download %1', size) : trans.__('Load')
        })
      ],
      defaultButton: isAbsent ? 0 : 1
    });
    if (!button.accept) {
      return;
    }
  }
  await model.load(wanted?.name ?? null, isAbsent);
}
