/** The list of chats: search, open, rename, export and delete. */
import { InputDialog } from '@jupyterlab/apputils';
import {
  addIcon,
  deleteIcon,
  downloadIcon,
  editIcon,
  historyIcon
} from '@jupyterlab/ui-components';
import React, { useEffect, useRef, useState } from 'react';
import { CHATS } from '../chat/chat_api';
import { IChatRow } from '../chat/chats';
import { confirmDelete } from './confirm_delete';
import { Button, FailureNote, IconButton } from './controls';
import { unbroken } from './format';
import {
  attempt,
  IServices,
  useReconnect,
  useServices,
  useSignal
} from './services';

export function ChatBar(props: {
  isOpen: boolean;
  onToggle: () => void;
  onNew: () => void;
}): JSX.Element {
  const { assistant, trans } = useServices();
  useSignal(assistant.chats.changed);
  const title = assistant.chat.title || trans.__('New chat');
  return (
    <div className="jp-MistralChatBar">
      <IconButton
        icon={historyIcon}
        label={trans.__('All chats')}
        expanded={props.isOpen}
        onClick={props.onToggle}
      />
      <span className="jp-MistralChatBar-title" title={title} dir="auto">
        {title}
      </span>
      {!assistant.chat.isSaved && (
        <span
          className="jp-MistralBadge jp-mod-warn"
          title={trans.__(
            'The server cannot write to its disk. This chat is kept in memory only.'
          )}
        >
          {trans.__('not saved')}
        </span>
      )}
      <IconButton
        icon={addIcon}
        label={trans.__('New chat')}
        onClick={props.onNew}
      />
    </div>
  );
}

export function History(props: { onClose: () => void }): JSX.Element {
  const services = useServices();
  const { assistant, trans } = services;
  const { chats } = assistant;
  useSignal(chats.changed);
  const [query, setQuery] = useState(chats.query);
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => {
    field.current?.focus();
    void chats.refresh();
  }, []);
  useReconnect(chats.failure, assistant.model, () => void chats.refresh());
  return (
    <div
      className="jp-MistralHistory"
      onKeyDown={event => {
        if (event.key === 'Escape') {
          props.onClose();
        }
      }}
    >
      <input
        ref={field}
        type="search"
        dir="auto"
        value={query}
        placeholder={trans.__('Search chats')}
        aria-label={trans.__('Search chats')}
        onChange={event => {
          setQuery(event.target.value);
          void chats.search(event.target.value);
        }}
      />
      {chats.failure && <FailureNote failure={chats.failure} />}
      <ul>
        {chats.rows.map(row => (
          <Row key={row.id} row={row} onOpen={props.onClose} />
        ))}
      </ul>
      {!chats.rows.length && !chats.failure && (
        <p className="jp-MistralReadiness-hint">
          {query ? trans.__('No matching chats') : trans.__('No chats yet')}
        </p>
      )}
      <Button onClick={props.onClose}>{trans.__('Back to the chat')}</Button>
    </div>
  );
}

function Row(props: { row: IChatRow; onOpen: () => void }): JSX.Element {
  const services = useServices();
  const { assistant, trans } = services;
  const { row } = props;
  const title = row.title || trans.__('New chat');
  return (
    <li className={row.id === assistant.chat.id ? 'jp-mod-current' : ''}>
      <button
        type="button"
        className="jp-MistralHistory-open"
        onClick={() =>
          attempt(services, async () => {
            await assistant.chats.open(row.id);
            props.onOpen();
          })
        }
      >
        <span dir="auto">{title}</span>
        <small className="jp-MistralFacts">
          <span>{unbroken(dateOf(row.updated))} </span>
          <span>
            {unbroken(trans._n('1 message', '%1 messages', row.messages))}
          </span>
        </small>
      </button>
      <div className="jp-MistralHistory-tools">
        <IconButton
          icon={editIcon}
          label={trans.__('Rename')}
          onClick={() => attempt(services, () => rename(services, row))}
        />
        <IconButton
          icon={downloadIcon}
          label={trans.__('Export')}
          onClick={() => attempt(services, () => exportChat(services, row))}
        />
        <IconButton
          icon={deleteIcon}
          label={trans.__('Delete')}
          onClick={() => attempt(services, () => remove(services, row))}
        />
      </div>
    </li>
  );
}

async function rename(services: IServices, row: IChatRow): Promise<void> {
  const { trans, assistant } = services;
  const { value } = await InputDialog.getText({
    title: trans.__('Rename chat'),
    text: row.title
  });
  if (value?.trim()) {
    await assistant.chats.rename(row.id, value.trim());
  }
}

async function remove(services: IServices, row: IChatRow): Promise<void> {
  const { trans, assistant } = services;
  const title = row.title || trans.__('New chat');
  if (await confirmDelete(trans.__('Delete this chat?'), title, trans)) {
    await assistant.chats.remove(row.id);
  }
}

async function exportChat(services: IServices, row: IChatRow): Promise<void> {
  const { trans, download } = services;
  const markdown = trans.__('Markdown');
  const { value } = await InputDialog.getItem({
    title: trans.__('Export as'),
    items: [markdown, trans.__('Notebook')],
    okLabel: trans.__('Export')
  });
  if (value === null) {
    return;
  }
  const format = value === markdown ? 'markdown' : 'ipynb';
  const text = await download(
    `${CHATS}/${encodeURIComponent(row.id)}/export?format=${format}`
  );
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text]));
  const name = (row.title || 'chat').replace(/[^\p{L}\p{N} _-]/gu, '').trim();
  link.download = `${name || 'chat'}.${format === 'markdown' ? 'md' : 'ipynb'}`;
  link.click();
  URL.revokeObjectURL(link.href);
}

function dateOf(seconds: number): string {
  return new Date(seconds * 1000).toLocaleString(undefined, {
    dateStyle: 'short',
    timeStyle: 'short'
  });
}
