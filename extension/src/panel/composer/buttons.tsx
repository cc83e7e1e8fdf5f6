/** The buttons below the text field: Attach, and Send or Stop. */
import { stopIcon } from '@jupyterlab/ui-components';
import React, { useRef } from 'react';
import { clipIcon, sendIcon } from '../../icons';
import { IconButton } from '../controls';
import { attempt, useServices } from '../services';
import { attachFiles } from './attach';

export function AttachButton(): JSX.Element {
  const services = useServices();
  const { trans } = services;
  const picker = useRef<HTMLInputElement>(null);
  return (
    <>
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
    </>
  );
}

export function SendButton(props: {
  disabled: boolean;
  onClick: () => void;
}): JSX.Element {
  const { trans } = useServices();
  return (
    <button
      type="button"
      className="jp-MistralSend"
      aria-label={trans.__('Send')}
      title={trans.__('Send (Enter)')}
      disabled={props.disabled}
      onClick={props.onClick}
    >
      <sendIcon.react tag="span" width="16px" />
    </button>
  );
}

export function StopButton(props: { onClick: () => void }): JSX.Element {
  const { trans } = useServices();
  return (
    <button
      type="button"
      className="jp-MistralSend jp-mod-stop"
      aria-label={trans.__('Stop')}
      title={trans.__('Stop (Esc)')}
      onClick={event => {
        // not the second half of a double click on Send
        if (event.detail < 2) {
          props.onClick();
        }
      }}
    >
      <stopIcon.react tag="span" width="16px" />
    </button>
  );
}
