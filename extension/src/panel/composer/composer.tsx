/** The text field for questions: completion of `/` and `@`, attachments by paste, drop and picker, Send and Stop. */
import { stopIcon } from '@jupyterlab/ui-components';
import React, { useEffect, useLayoutEffect, useRef, useState } from 'react';
import { clipIcon, sendIcon } from '../../icons';
import { accept, ISuggestion, triggerAt } from '../../context/suggest';
import { attachFiles } from './attach';
import { Chips } from './chips';
import { useTokenCount } from './token_count';
import { useLuminoDrop } from './drop';
import { Meter } from './meter';
import { ReadingNotice, VisionNotice } from './notices';
import { IconButton } from '../controls';
import { attempt, useServices, useSignal } from '../services';
import { applySuggestion, useSuggestions } from './suggestions';

const DRAFT = 'jupyter-mistral:draft';

/** `started` counts the chats that the user has started; each moves the focus here. */
export function Composer(props: { started: number }): JSX.Element {
  const services = useServices();
  const { assistant, trans } = services;
  useSignal(assistant.chats.changed);
  // attachments can be sent without text
  useSignal(assistant.context.changed);
  // the draft survives a reload of the page
  const [text, setText] = useState(() => sessionStorage.getItem(DRAFT) ?? '');
  const [caret, setCaret] = useState(0);
  const [selected, setSelected] = useState(0);
  const [isDismissed, setDismissed] = useState(false);
  const [isOver, setOver] = useState(false);
  const area = useRef<HTMLTextAreaElement>(null);
  /** The caret's position after a suggestion was inserted. */
  const nextCaret = useRef<number | null>(null);
  const picker = useRef<HTMLInputElement>(null);
  const trigger = isDismissed ? null : triggerAt(text, caret);
  const suggestions = useSuggestions(trigger);
  const isOpen = suggestions.length > 0;
  const isBusy = assistant.chat.isBusy;

  useEffect(() => sessionStorage.setItem(DRAFT, text), [text]);
  useTokenCount(text);
  useEffect(() => {
    if (props.started) {
      area.current?.focus();
    }
  }, [props.started]);
  useLayoutEffect(() => {
    const node = area.current!;
    node.style.height = 'auto';
    node.style.height = `${Math.min(node.scrollHeight + 2, 220)}px`;
    // at once, or the next key would be typed in the wrong place
    if (nextCaret.current !== null) {
      node.setSelectionRange(nextCaret.current, nextCaret.current);
      nextCaret.current = null;
    }
  }, [text]);

  const edit = (value: string, at: number): void => {
    nextCaret.current = null;
    setText(value);
    setCaret(at);
    setSelected(0);
    setDismissed(false);
  };
  const insert = (suggestion: ISuggestion): void => {
    if (!trigger) {
      return;
    }
    const next = accept(text, trigger, suggestion.insert);
    edit(next.text, next.caret);
    attempt(services, () => applySuggestion(services, suggestion));
    nextCaret.current = next.caret;
    area.current?.focus();
  };
  const send = (): void => {
    const question = text.trim();
    const isEmpty = !question && assistant.context.isEmpty;
    if (isEmpty || isBusy || assistant.cannotSeeImages) {
      return;
    }
    if (question === '/help') {
      edit('/', 1); // the suggestions are the help
      return;
    }
    edit('', 0);
    area.current?.focus();
    attempt(services, async () => {
      try {
        await assistant.send(question || trans.__('What is this?'));
      } catch (error) {
        // a rejected question is put back into the field
        setText(now => now || question);
        throw error;
      }
    });
  };
  const onKeyDown = (event: React.KeyboardEvent): void => {
    if (event.nativeEvent.isComposing) {
      return;
    }
    if (isOpen && ['ArrowDown', 'ArrowUp'].includes(event.key)) {
      const step = event.key === 'ArrowDown' ? 1 : -1;
      const count = suggestions.length;
      setSelected((selected + step + count) % count);
    } else if (
      isOpen &&
      ['Enter', 'Tab'].includes(event.key) &&
      !event.shiftKey &&
      // Enter sends a command that is typed out
      !(event.key === 'Enter' && suggestions[0].insert === text.trim())
    ) {
      insert(suggestions[Math.min(selected, suggestions.length - 1)]);
    } else if (event.key === 'Escape' && isOpen) {
      setDismissed(true);
    } else if (event.key === 'Escape' && isBusy) {
      attempt(services, () => assistant.chat.stop());
    } else if (event.key === 'Enter' && !event.shiftKey) {
      send();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  };

  return (
    <div
      className={`jp-MistralComposer ${isOver ? 'jp-mod-over' : ''}`}
      onDragOver={event => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={event => {
        event.preventDefault();
        setOver(false);
        const { files } = event.dataTransfer;
        attempt(services, () => attachFiles(services, Array.from(files)));
      }}
      ref={useLuminoDrop(services, setOver)}
    >
      <Chips />
      <VisionNotice />
      <ReadingNotice />
      {isOpen && (
        <ul
          className="jp-MistralSuggestions"
          role="listbox"
          id="jp-MistralSuggestions"
          aria-label={trans.__('Suggestions')}
        >
          {suggestions.map((suggestion, i) => (
            <li
              key={`${suggestion.kind}-${suggestion.label}-${suggestion.value}`}
              id={`jp-MistralSuggestion-${i}`}
              role="option"
              aria-selected={i === selected}
              onMouseDown={event => {
                event.preventDefault();
                insert(suggestion);
              }}
              onMouseEnter={() => setSelected(i)}
            >
              <span>{suggestion.label}</span>
              <small dir="auto">{suggestion.detail}</small>
            </li>
          ))}
        </ul>
      )}
      <textarea
        ref={area}
        dir="auto"
        rows={2}
        value={text}
        aria-label={trans.__('Your question')}
        aria-autocomplete="list"
        aria-controls={isOpen ? 'jp-MistralSuggestions' : undefined}
        aria-activedescendant={
          isOpen ? `jp-MistralSuggestion-${selected}` : undefined
        }
        placeholder={
          assistant.notebook
            ? trans.__('Ask about this notebook…')
            : trans.__('Ask anything…')
        }
        onChange={event =>
          edit(event.target.value, event.target.selectionStart)
        }
        onSelect={event => setCaret(event.currentTarget.selectionStart)}
        onKeyDown={onKeyDown}
        onFocus={() => setDismissed(false)}
        onBlur={() => setDismissed(true)}
        onPaste={event => {
          const files = Array.from(event.clipboardData.files);
          if (files.length) {
            event.preventDefault();
            attempt(services, () => attachFiles(services, files));
          }
        }}
      />
      <div className="jp-MistralComposer-row">
        <IconButton
          icon={clipIcon}
          label={trans.__('Attach an image, a PDF or a text file')}
          onClick={() => picker.current?.click()}
        />
        <input
          ref={picker}
          type="file"
          multiple
          hidden
          aria-hidden="true"
          onChange={event => {
            const files = Array.from(event.target.files ?? []);
            event.target.value = '';
            attempt(services, () => attachFiles(services, files));
          }}
        />
        <Meter />
        <span className="jp-MistralSpace" />
        {isBusy ? (
          <button
            type="button"
            className="jp-MistralSend jp-mod-stop"
            aria-label={trans.__('Stop')}
            title={trans.__('Stop (Esc)')}
            onClick={event => {
              // not the second half of a double click on Send
              if (event.detail < 2) {
                area.current?.focus();
                attempt(services, () => assistant.chat.stop());
              }
            }}
          >
            <stopIcon.react tag="span" width="16px" />
          </button>
        ) : (
          <button
            type="button"
            className="jp-MistralSend"
            aria-label={trans.__('Send')}
            title={trans.__('Send (Enter)')}
            disabled={
              (!text.trim() && assistant.context.isEmpty) ||
              assistant.cannotSeeImages
            }
            onClick={send}
          >
            <sendIcon.react tag="span" width="16px" />
          </button>
        )}
      </div>
    </div>
  );
}
