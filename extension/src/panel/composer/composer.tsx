/** Where questions are written: completion of `/` and `@`, pictures by paste, drop and pick, Send and Stop. */
import { stopIcon } from '@jupyterlab/ui-components';
import React, { useEffect, useLayoutEffect, useRef, useState } from 'react';
import { clipIcon, sendIcon } from '../../icons';
import { accept, ISuggestion, triggerAt } from '../../context/suggest';
import { takeFiles } from './attach';
import { Chips } from './chips';
import { useCounting } from './token_count';
import { useLuminoDrop } from './drop';
import { Meter } from './meter';
import { BeingRead, Blindness } from './notices';
import { IconButton } from '../controls';
import { attempt, useServices, useSignal } from '../services';
import { applySuggestion, useSuggestions } from './suggestions';

const DRAFT = 'jupyter-mistral:draft';

/** `fresh`: how many chats were begun by a click; the next is written here. */
export function Composer(props: { fresh: number }): JSX.Element {
  const services = useServices();
  const { assistant, trans } = services;
  useSignal(assistant.chats.changed);
  // what is attached can be sent without a word
  useSignal(assistant.context.changed);
  // a draft outlives a reload of the page
  const [text, setText] = useState(() => sessionStorage.getItem(DRAFT) ?? '');
  const [caret, setCaret] = useState(0);
  const [chosen, setChosen] = useState(0);
  const [isShut, setShut] = useState(false);
  const [isOver, setOver] = useState(false);
  const area = useRef<HTMLTextAreaElement>(null);
  /** Where the caret goes once a suggestion stands in the text. */
  const placed = useRef<number | null>(null);
  const picker = useRef<HTMLInputElement>(null);
  const trigger = isShut ? null : triggerAt(text, caret);
  const suggestions = useSuggestions(trigger);
  const isOpen = suggestions.length > 0;
  const isBusy = assistant.chat.isBusy;

  useEffect(() => sessionStorage.setItem(DRAFT, text), [text]);
  useCounting(text);
  useEffect(() => {
    if (props.fresh) {
      area.current?.focus();
    }
  }, [props.fresh]);
  useLayoutEffect(() => {
    const node = area.current!;
    node.style.height = 'auto';
    node.style.height = `${Math.min(node.scrollHeight + 2, 220)}px`;
    // at once: a key that comes before would be written elsewhere
    if (placed.current !== null) {
      node.setSelectionRange(placed.current, placed.current);
      placed.current = null;
    }
  }, [text]);

  const edit = (value: string, at: number): void => {
    placed.current = null;
    setText(value);
    setCaret(at);
    setChosen(0);
    setShut(false);
  };
  const take = (suggestion: ISuggestion): void => {
    if (!trigger) {
      return;
    }
    const next = accept(text, trigger, suggestion.insert);
    edit(next.text, next.caret);
    attempt(services, () => applySuggestion(services, suggestion));
    placed.current = next.caret;
    area.current?.focus();
  };
  const send = (): void => {
    const question = text.trim();
    const isEmpty = !question && assistant.context.isEmpty;
    if (isEmpty || isBusy || assistant.cannotSeeImages) {
      return;
    }
    if (question === '/help') {
      edit('/', 1); // the list of tasks is the help
      return;
    }
    edit('', 0);
    area.current?.focus();
    attempt(services, async () => {
      try {
        await assistant.send(question || trans.__('What is this?'));
      } catch (error) {
        // a question that was not taken stands in its place again
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
      setChosen((chosen + step + count) % count);
    } else if (
      isOpen &&
      ['Enter', 'Tab'].includes(event.key) &&
      !event.shiftKey &&
      // a command that is typed out needs no choosing
      !(event.key === 'Enter' && suggestions[0].insert === text.trim())
    ) {
      take(suggestions[Math.min(chosen, suggestions.length - 1)]);
    } else if (event.key === 'Escape' && isOpen) {
      setShut(true);
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
        attempt(services, () => takeFiles(services, Array.from(files)));
      }}
      ref={useLuminoDrop(services, setOver)}
    >
      <Chips />
      <Blindness />
      <BeingRead />
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
              aria-selected={i === chosen}
              onMouseDown={event => {
                event.preventDefault();
                take(suggestion);
              }}
              onMouseEnter={() => setChosen(i)}
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
          isOpen ? `jp-MistralSuggestion-${chosen}` : undefined
        }
        placeholder={trans.__('Ask about this notebook…')}
        onChange={event =>
          edit(event.target.value, event.target.selectionStart)
        }
        onSelect={event => setCaret(event.currentTarget.selectionStart)}
        onKeyDown={onKeyDown}
        onFocus={() => setShut(false)}
        onBlur={() => setShut(true)}
        onPaste={event => {
          const files = Array.from(event.clipboardData.files);
          if (files.length) {
            event.preventDefault();
            attempt(services, () => takeFiles(services, files));
          }
        }}
      />
      <div className="jp-MistralComposer-row">
        <IconButton
          icon={clipIcon}
          label={trans.__('Attach a picture, a PDF or a text file')}
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
            attempt(services, () => takeFiles(services, files));
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
              // the second half of a double click on Send
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
