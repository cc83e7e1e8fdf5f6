/** A question: its text and attachments, and editing it. */
import { deleteIcon, editIcon } from '@jupyterlab/ui-components';
import React, { useState } from 'react';
import { imagesIcon } from '../../icons';
import { IMessage } from '../../chat/message';
import { Part } from '../../api/protocol';
import { isShowable } from '../../text/sanitize';
import { deleteFrom } from '../confirm_delete';
import { Button, CopyButton, IconButton } from '../controls';
import { attempt, useServices } from '../services';

export function Question(props: { message: IMessage }): JSX.Element {
  const services = useServices();
  const { assistant, trans } = services;
  const { message } = props;
  const [draft, setDraft] = useState<string | null>(null);
  const [question, ...attached] = message.content;
  const text = typeof question === 'string' ? question : '';
  const isBusy = assistant.chat.isBusy;
  const resend = (): void => {
    if (draft?.trim()) {
      setDraft(null);
      attempt(services, () => assistant.send(draft.trim(), message.id));
    }
  };
  if (draft !== null) {
    return (
      <div className="jp-MistralQuestion jp-mod-editing">
        <textarea
          dir="auto"
          autoFocus
          rows={Math.min(8, draft.split('\n').length + 1)}
          aria-label={trans.__('Edit the question')}
          value={draft}
          onChange={event => setDraft(event.target.value)}
          onKeyDown={event => {
            if (event.key === 'Escape') {
              event.stopPropagation();
              setDraft(null);
            } else if (
              event.key === 'Enter' &&
              !event.shiftKey &&
              !event.nativeEvent.isComposing
            ) {
              event.preventDefault();
              resend();
            }
          }}
        />
        <div className="jp-MistralRow">
          <Button
            kind="primary"
            disabled={!draft.trim() || isBusy}
            onClick={resend}
          >
            {trans.__('Send again')}
          </Button>
          <Button onClick={() => setDraft(null)}>{trans.__('Cancel')}</Button>
        </div>
      </div>
    );
  }
  return (
    <article className="jp-MistralQuestion" aria-label={trans.__('You')}>
      <div className="jp-MistralQuestion-text" dir="auto">
        {text}
      </div>
      {attached.map((part, i) => (
        <Attached key={i} part={part} />
      ))}
      <div
        className="jp-MistralActions"
        role="toolbar"
        aria-label={trans.__('Question')}
      >
        <CopyButton
          label={trans.__('Copy text')}
          onClick={() =>
            attempt(services, () => navigator.clipboard.writeText(text))
          }
        />
        <IconButton
          icon={editIcon}
          label={trans.__('Edit and ask again')}
          disabled={isBusy}
          onClick={() => setDraft(text)}
        />
        <IconButton
          icon={deleteIcon}
          label={trans.__('Delete this and everything below')}
          disabled={isBusy}
          onClick={() => attempt(services, () => deleteFrom(services, message))}
        />
      </div>
    </article>
  );
}

function Attached(props: { part: Part }): JSX.Element | null {
  const { trans } = useServices();
  if (typeof props.part !== 'string') {
    return isShowable(props.part.image_url) ? (
      <img
        className="jp-MistralThumbnail"
        src={props.part.image_url}
        alt={trans.__('Attached image')}
      />
    ) : (
      <div className="jp-MistralAttached">
        <imagesIcon.react tag="span" width="14px" height="14px" />{' '}
        {trans.__('Attached SVG image')}
      </div>
    );
  }
  const [title, ...rest] = props.part.trim().split('\n');
  return rest.length ? (
    <details className="jp-MistralAttached">
      <summary dir="auto">{title.replace(/:$/, '')}</summary>
      <pre>{rest.filter(line => !/^`{3}/.test(line)).join('\n')}</pre>
    </details>
  ) : (
    <div className="jp-MistralAttached" dir="auto">
      {title}
    </div>
  );
}
