/** The toolbar below a code block of an answer. It changes nothing without a click. */
import {
  addAboveIcon,
  addBelowIcon,
  checkIcon,
  copyIcon,
  runIcon
} from '@jupyterlab/ui-components';
import React, { useState } from 'react';
import { ITarget } from '../../chat/assistant';
import { cellName } from '../../context/attachments';
import { insertCell, replaceCell, runInNewCell } from '../../notebook/edits';
import { replaceIcon } from '../../icons';
import { Diff } from './diff';
import { IconButton } from '../controls';
import { attempt, useServices } from '../services';

export function CodeBar(props: {
  code: string;
  /** The name of the model that wrote it. */
  model: string;
  target: () => ITarget | null;
  /** Whether to show the change at once, because the task was to change the cell. */
  isProposal: (code: string) => boolean;
  /** Called when the user accepts or rejects the change. */
  onDecide: () => void;
}): JSX.Element {
  const services = useServices();
  const { trans, assistant } = services;
  const { model } = props;
  const [isCopied, setCopied] = useState(false);
  const code = props.code.replace(/\n+$/, '');
  const [target, setTarget] = useState<ITarget | null>(() =>
    props.isProposal(code) ? props.target() : null
  );
  const close = (): void => {
    props.onDecide();
    setTarget(null);
  };
  const act = (action: () => unknown) => () => attempt(services, action);
  return (
    <>
      <div
        className="jp-MistralCodeBar"
        role="toolbar"
        aria-label={trans.__('Code')}
      >
        <IconButton
          icon={isCopied ? checkIcon : copyIcon}
          label={isCopied ? trans.__('Copied') : trans.__('Copy')}
          onClick={act(async () => {
            await navigator.clipboard.writeText(code);
            setCopied(true);
            window.setTimeout(() => setCopied(false), 1500);
          })}
        />
        <IconButton
          icon={addAboveIcon}
          label={trans.__('Insert above the active cell')}
          onClick={act(() =>
            insertCell(assistant.notebook, code, 'above', model)
          )}
        />
        <IconButton
          icon={addBelowIcon}
          label={trans.__('Insert below the active cell')}
          onClick={act(() =>
            insertCell(assistant.notebook, code, 'below', model)
          )}
        />
        <IconButton
          icon={replaceIcon}
          label={trans.__('Replace the cell…')}
          expanded={target !== null}
          disabled={!assistant.notebook}
          onClick={() => (target ? close() : setTarget(props.target()))}
        />
        <IconButton
          icon={runIcon}
          label={trans.__('Run in a new cell')}
          onClick={act(() => runInNewCell(assistant.notebook, code, model))}
        />
      </div>
      {target && (
        <Diff
          cell={cellName(target.cell.index).slice(1, -1)}
          before={target.cell.source}
          after={code}
          onAccept={() => {
            attempt(services, () =>
              replaceCell(assistant.notebook, target.cell.id, code, model)
            );
            close();
          }}
          onReject={close}
        />
      )}
    </>
  );
}
