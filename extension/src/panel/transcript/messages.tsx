/** The messages of the open chat. */
import React, { useEffect, useRef } from 'react';
import { textOf } from '../../chat/message';
import { showCell } from '../../notebook/edits';
import { openLink } from './links';
import { Answer } from './answer';
import { Question } from './question';
import { attempt, useServices, useSignal } from '../services';

/** Within this distance of the end, the view follows new text. */
const NEAR_PX = 60;

export function Messages(): JSX.Element {
  const services = useServices();
  const { assistant, trans } = services;
  useSignal(assistant.chats.changed);
  const log = useRef<HTMLDivElement>(null);
  const follows = useRef(true);
  const messages = assistant.chat.messages;
  const last = messages[messages.length - 1];
  useEffect(() => {
    const node = log.current;
    if (!node) {
      return undefined;
    }
    const observer = new ResizeObserver(() => {
      if (follows.current) {
        node.scrollTop = node.scrollHeight;
      }
    });
    observer.observe(node.firstElementChild!);
    return () => observer.disconnect();
  }, []);
  // a new question always scrolls into view
  useEffect(() => {
    follows.current = true;
    const node = log.current;
    if (node) {
      node.scrollTop = node.scrollHeight;
    }
  }, [messages.length, assistant.chat]);
  const onClick = (event: React.SyntheticEvent): void => {
    const target = event.target as Element;
    const cell = target.closest<HTMLElement>('[data-cell]');
    const link = target.closest('a');
    if (cell) {
      attempt(services, () =>
        showCell(assistant.notebook, Number(cell.dataset.cell))
      );
    } else if (link) {
      // no link in an answer opens by itself
      event.preventDefault();
      event.stopPropagation();
      const address =
        link.getAttribute('data-href') ?? link.getAttribute('href');
      void openLink(address ?? '', trans);
    }
  };
  return (
    <div
      className="jp-MistralMessages"
      ref={log}
      role="log"
      aria-label={trans.__('Conversation')}
      aria-busy={assistant.chat.isBusy}
      aria-live="off"
      tabIndex={0}
      onScroll={event => {
        const node = event.currentTarget;
        follows.current =
          node.scrollHeight - node.scrollTop - node.clientHeight < NEAR_PX;
      }}
      onClickCapture={onClick}
      onAuxClickCapture={onClick}
      onKeyDown={event => {
        if (event.key === 'Enter' && (event.target as Element).matches('a')) {
          onClick(event);
        }
      }}
    >
      <div>
        {messages.map(message =>
          message.role === 'user' ? (
            <Question key={message.id} message={message} />
          ) : (
            <Answer
              key={message.id}
              message={message}
              text={textOf(message)}
              state={message.state}
              progress={message === last ? assistant.chat.progress : null}
            />
          )
        )}
        {assistant.chat.isBusy && last?.state !== 'streaming' && (
          <div className="jp-MistralWait">
            {assistant.chat.isStopping
              ? trans.__('Stopping…')
              : trans.__('Sending…')}
          </div>
        )}
      </div>
      <div className="jp-MistralHidden" role="status">
        {last?.role === 'assistant' && last.state === 'done'
          ? trans.__('The answer is complete.')
          : ''}
      </div>
    </div>
  );
}
