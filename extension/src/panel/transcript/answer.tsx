/** An answer: reasoning, text, progress and cost. */
import {
  caretRightIcon,
  deleteIcon,
  refreshIcon
} from '@jupyterlab/ui-components';
import React, { useCallback } from 'react';
import { splitThinking } from '../../text/blocks';
import { IMessage } from '../../chat/message';
import { ChatEvent, IUsage } from '../../api/protocol';
import { CodeBar } from './code_bar';
import { FailureWithAction } from '../failure';
import { deleteFrom } from '../confirm_delete';
import { count, joules, seconds, unbroken } from '../format';
import { Markdown } from './markdown';
import { Button, CopyButton, IconButton, ProgressBar } from '../controls';
import { attempt, useServices } from '../services';

/** `text` and `state` are props of their own, because the message changes in place. */
export function Answer(props: {
  message: IMessage;
  text: string;
  state: string;
  progress: ChatEvent | null;
}): JSX.Element {
  const services = useServices();
  const { assistant, trans } = services;
  const { message, state } = props;
  const isStreaming = state === 'streaming';
  const { thinking, answer, isThinking } = splitThinking(
    props.text,
    !isStreaming
  );
  const target = useCallback(() => assistant.targetOf(message), [message]);
  const renderCode = useCallback(
    (code: string) => (
      <CodeBar
        code={code}
        model={message.usage?.model ?? ''}
        target={target}
        isProposal={text => assistant.isProposal(message, text)}
        onDecide={() => assistant.decide(message)}
      />
    ),
    [target]
  );
  return (
    <article
      className={`jp-MistralAnswer jp-mod-${state}`}
      aria-label={trans.__('Mistral')}
      data-state={state}
    >
      {thinking && (
        <details className="jp-MistralThinking">
          <summary>
            <caretRightIcon.react tag="span" width="14px" />
            {isThinking && isStreaming
              ? trans.__('Thinking…')
              : trans.__('Reasoning')}
          </summary>
          <div dir="auto">{thinking}</div>
        </details>
      )}
      {answer && (
        <Markdown text={answer} renderCode={isStreaming ? null : renderCode} />
      )}
      {isStreaming && !answer && (
        <Waiting
          progress={props.progress}
          isThinking={isThinking && !!props.text}
        />
      )}
      {state === 'interrupted' && (
        <div className="jp-MistralNote">
          {message.failure?.code === 'cancelled' || !message.failure
            ? trans.__('Stopped here.')
            : message.failure.sentence}
        </div>
      )}
      {state === 'failed' && message.failure && (
        <FailureWithAction failure={message.failure} />
      )}
      {state === 'done' && message.failure && <LengthNote message={message} />}
      {state === 'done' && <MissingChange message={message} />}
      {state === 'done' &&
        !answer &&
        !message.failure &&
        !assistant.missingChange(message) && (
          <div className="jp-MistralNote">
            {trans.__('The model returned an empty answer.')}
          </div>
        )}
      {!isStreaming && (
        <footer className="jp-MistralFooter">
          {message.usage && <Receipt usage={message.usage} />}
          <div
            className="jp-MistralActions"
            role="toolbar"
            aria-label={trans.__('Answer')}
          >
            <CopyButton
              label={trans.__('Copy text')}
              onClick={() =>
                attempt(services, () => navigator.clipboard.writeText(answer))
              }
            />
            <IconButton
              icon={refreshIcon}
              label={trans.__('Regenerate')}
              disabled={assistant.chat.isBusy}
              onClick={() =>
                attempt(services, () => assistant.regenerate(message))
              }
            />
            <IconButton
              icon={deleteIcon}
              label={trans.__('Delete this and everything below')}
              disabled={assistant.chat.isBusy}
              onClick={() =>
                attempt(services, () => deleteFrom(services, message))
              }
            />
          </div>
        </footer>
      )}
    </article>
  );
}

/** Says that the answer ended early; the last answer can be continued. */
function LengthNote(props: { message: IMessage }): JSX.Element {
  const services = useServices();
  const { assistant, trans } = services;
  const { failure } = props.message;
  const isLast = assistant.chat.messages.at(-1) === props.message;
  return (
    <div className="jp-MistralNote" role="status">
      <span>{isLast ? failure?.message : failure?.sentence}</span>
      {isLast && (
        <Button
          disabled={assistant.chat.isBusy}
          onClick={() =>
            attempt(services, () => assistant.send(trans.__('Continue.')))
          }
        >
          {trans.__('Continue')}
        </Button>
      )}
    </div>
  );
}

/** Says that the answer does not change its cell, and offers to try again. */
function MissingChange(props: { message: IMessage }): JSX.Element | null {
  const services = useServices();
  const { assistant, trans } = services;
  const missing = assistant.missingChange(props.message);
  return missing ? (
    <div className="jp-MistralNote" role="status">
      <span>
        {missing === 'unchanged'
          ? trans.__('The model suggested no change.')
          : trans.__('The answer contains no code.')}
      </span>
      <Button
        disabled={assistant.chat.isBusy}
        onClick={() =>
          attempt(services, () => assistant.regenerate(props.message, true))
        }
      >
        {trans.__('Try again')}
      </Button>
    </div>
  ) : null;
}

function Waiting(props: {
  progress: ChatEvent | null;
  isThinking: boolean;
}): JSX.Element {
  const { trans } = useServices();
  const { progress } = props;
  let label = props.isThinking ? trans.__('Thinking…') : trans.__('Waiting…');
  let fraction: number | null = null;
  if (progress?.type === 'queued') {
    label = trans._n('1 request ahead', '%1 requests ahead', progress.position);
  } else if (progress?.type === 'loading') {
    label = progress.detail || trans.__('Loading the model…');
    fraction = progress.fraction;
  } else if (progress?.type === 'reading') {
    label = progress.parts
      ? trans.__('Reading part %1 of %2…', progress.part, progress.parts)
      : progress.reused
        ? trans.__(
            'Reading %1 of %2 tokens (%3 cached)…',
            count(progress.total - progress.reused),
            count(progress.total),
            count(progress.reused)
          )
        : trans.__('Reading %1 tokens…', count(progress.total));
    fraction = progress.total ? progress.done / progress.total : null;
  }
  return (
    <div className="jp-MistralWait">
      <div>{label}</div>
      <ProgressBar fraction={fraction} label={label} />
    </div>
  );
}

/** The cost of the answer, and the context that was left out. */
function Receipt(props: { usage: IUsage }): JSX.Element {
  const { trans } = useServices();
  const { usage } = props;
  const facts = [
    trans.__('%1 tokens/s', usage.tokens_per_second.toFixed(1)),
    trans.__('first token %1', seconds(usage.time_to_first_token_s))
  ];
  if (usage.energy_j !== null) {
    facts.push(joules(usage.energy_j));
  }
  const details = trans.__(
    'Prompt: %1 tokens (%2 cached). Answer: %3 tokens.',
    count(usage.prompt_tokens),
    count(usage.cached_tokens),
    count(usage.completion_tokens)
  );
  return (
    <div className="jp-MistralReceipt">
      <span className="jp-MistralFacts" title={details}>
        {facts.map(fact => (
          <span key={fact}>{unbroken(fact)} </span>
        ))}
      </span>
      {usage.left_out.length > 0 && (
        <details>
          <summary>
            {trans._n(
              '1 part left out',
              '%1 parts left out',
              usage.left_out.length
            )}
          </summary>
          <ul dir="auto">
            {usage.left_out.map(part => (
              <li key={part}>{part}</li>
            ))}
          </ul>
        </details>
      )}
    </div>
  );
}
