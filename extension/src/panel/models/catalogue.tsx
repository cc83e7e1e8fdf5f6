/** The catalogue of models, and loading one; asks before it downloads. */
import { Dialog, showDialog } from '@jupyterlab/apputils';
import React, { useEffect, useState } from 'react';
import { ICatalogueRow } from '../../model/model';
import { Failure } from '../../api/protocol';
import { bytes } from '../format';
import { Button } from '../controls';
import { attempt, IServices, useServices, useSignal } from '../services';

export function Catalogue(): JSX.Element {
  const { assistant, trans } = useServices();
  const { model } = assistant;
  useSignal(model.changed);
  useEffect(() => {
    void model.readCatalogue();
  }, []);
  const [query, setQuery] = useState('');
  const rows = model.catalogue.filter(row => matches(row, query, trans));
  return (
    <div className="jp-MistralCatalogue">
      <input
        type="search"
        dir="auto"
        value={query}
        placeholder={trans.__('Search models')}
        aria-label={trans.__('Search models')}
        onChange={event => setQuery(event.target.value)}
      />
      <ul>
        {rows.map(row => (
          <CatalogueItem key={row.name} row={row} />
        ))}
      </ul>
      {!rows.length && model.catalogue.length > 0 && (
        <p className="jp-MistralReadiness-hint">
          {trans.__('No match. Enter a name below.')}
        </p>
      )}
      <OtherModel />
    </div>
  );
}

/** Returns what the badges of a model say. */
function abilities(row: ICatalogueRow, trans: IServices['trans']): string[] {
  return [
    row.can.includes('image') ? trans.__('vision') : '',
    row.can.includes('reasoning') ? trans.__('reasoning') : ''
  ].filter(Boolean);
}

/** Whether the row contains every word of the query. */
function matches(
  row: ICatalogueRow,
  query: string,
  trans: IServices['trans']
): boolean {
  const words = [...row.can, ...abilities(row, trans)];
  const text = [row.title, row.name, row.licence, row.note, ...words]
    .join(' ')
    .toLowerCase();
  return query
    .toLowerCase()
    .split(/\s+/)
    .every(word => text.includes(word));
}

/** Loads a model that is not in the list: from Hugging Face by its ID, or from a folder on the server. */
function OtherModel(): JSX.Element {
  const services = useServices();
  const { assistant, trans } = services;
  const [name, setName] = useState('');
  const entered = name.trim();
  const load = (): void => {
    if (entered) {
      attempt(services, () => loadOther(services, entered));
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
          placeholder={trans.__('organization/model or /path/to/folder')}
          onChange={event => setName(event.target.value)}
        />
      </label>
      <Button disabled={!entered || assistant.model.isLoading} onClick={load}>
        {trans.__('Load')}
      </Button>
    </form>
  );
}

const HUB_ID = /^[\w.-]+\/[\w.-]+$/;
const FOLDER = /^(\/|~|\.{1,2}\/|[A-Za-z]:\\|\\\\)/;

/** Loads a folder at once; asks before it downloads. */
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
      trans.__('%1 is not a model ID or a folder.', name),
      trans.__('Enter organization/model, or the full path of a folder.')
    );
  }
  if (!isFolder) {
    const { button } = await showDialog({
      title: trans.__('Load %1?', name),
      body: trans.__(
        'Missing files are downloaded from Hugging Face. No code from the repository is run.'
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
          ? trans.__('fits in GPU memory')
          : trans.__('fits in memory');
  const size =
    row.state === 'ready' || row.state === 'on disk'
      ? trans.__('downloaded')
      : trans.__('%1 to download', bytes(row.downloadBytes));
  return (
    <li>
      <div>
        <div className="jp-MistralCatalogue-title">
          <strong>{row.title}</strong>
          {abilities(row, trans).map(ability => (
            <span key={ability} className="jp-MistralBadge">
              {ability}
            </span>
          ))}
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

/** Loads a model (null: the default one); asks first if it must be downloaded or does not fit. */
export async function loadAsked(
  services: IServices,
  chosen: ICatalogueRow | null
): Promise<void> {
  const { assistant, trans } = services;
  const { model } = assistant;
  if (!model.catalogue.length) {
    await model.readCatalogue();
  }
  const name = chosen?.name ?? model.status?.default_model ?? '';
  const row = chosen ?? model.row(name);
  const isAbsent = row
    ? row.state === 'absent' || row.state === 'damaged'
    : model.status?.state === 'absent';
  if (isAbsent || row?.fits === 'no') {
    const size = row?.downloadBytes ? bytes(row.downloadBytes) : '';
    const sentences = [
      isAbsent ? trans.__('This model is not downloaded yet.') : '',
      isAbsent && size ? trans.__('One-time download: %1.', size) : '',
      row?.isGated
        ? trans.__('You must first accept its licence on Hugging Face.')
        : '',
      row?.fits === 'no' ? row.reason : ''
    ];
    const { button } = await showDialog({
      title: trans.__('Load %1?', row?.title ?? name),
      body: sentences.filter(Boolean).join(' '),
      buttons: [
        Dialog.cancelButton(),
        Dialog.okButton({
          label: !isAbsent
            ? trans.__('Load')
            : size
              ? trans.__('Download %1', size)
              : trans.__('Download')
        })
      ],
      defaultButton: isAbsent ? 0 : 1
    });
    if (!button.accept) {
      return;
    }
  }
  await model.load(chosen?.name ?? null, isAbsent);
}
