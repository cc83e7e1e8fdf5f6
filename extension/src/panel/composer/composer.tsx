/** The text field for questions: completion of `/` and `@`, attachments by paste, drop and picker, Send and Stop. */
import React, { useEffect, useLayoutEffect, useRef, useState } from 'react';
import { accept, ISuggestion, triggerAt } from '../../context/suggest';
import { attachFiles } from './attach';
import { AttachButton, SendButton, StopButton } from './buttons';
import { Chips } from './chips';
import { itemId, LIST_ID, SuggestionList } from './suggestion_list';
import { useTokenCount } from './token_count';
import { useLuminoDrop } from './drop';
import { Meter } from './meter';
import { ReadingNotice, VisionNotice } from './notices';
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
  const canSend =
    (!!text.trim() || !assistant.context.isEmpty) && !assistant.cannotSeeImages;
  const stop = (): void => attempt(services, () => assistant.chat.stop());
  const send = (): void => {
    const question = text.trim();
    if (!canSend || isBusy) {
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
      stop();
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
        <SuggestionList
          suggestions={suggestions}
          selected={selected}
          onSelect={setSelected}
          onChoose={insert}
        />
      )}
      <textarea
        ref={area}
        dir="auto"
        rows={2}
        value={text}
        aria-label={trans.__('Your question')}
        aria-autocomplete="list"
        aria-controls={isOpen ? LIST_ID : undefined}
        aria-activedescendant={isOpen ? itemId(selected) : undefined}
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
        <AttachButton />
        <Meter />
        <span className="jp-MistralSpace" />
        {isBusy ? (
          <StopButton
            onClick={() => {
              area.current?.focus();
              stop();
            }}
          />
        ) : (
          <SendButton disabled={!canSend} onClick={send} />
        )}
      </div>
    </div>
  );
}
