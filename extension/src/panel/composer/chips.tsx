/** The context of the next question: each part has a token count and can be excluded. */
import {
  bugIcon,
  closeIcon,
  codeIcon,
  editIcon,
  fileIcon,
  LabIcon,
  notebookIcon
} from '@jupyterlab/ui-components';
import React from 'react';
import { IChip } from '../../context/context';
import { imagesIcon, variablesIcon } from '../../icons';
import { about, count, short } from '../format';
import { useServices, useSignal } from '../services';

const ICONS: Record<IChip['kind'], LabIcon> = {
  notebook: notebookIcon,
  cell: codeIcon,
  cells: codeIcon,
  selection: editIcon,
  error: bugIcon,
  variables: variablesIcon,
  file: fileIcon,
  image: imagesIcon
};

export function Chips(): JSX.Element | null {
  const { assistant, trans } = useServices();
  useSignal(assistant.context.changed);
  useSignal(assistant.context.counted);
  const chips = assistant.context.chips();
  return chips.length ? (
    <div
      className="jp-MistralChips"
      role="group"
      aria-label={trans.__('Sent with the question')}
    >
      {chips.map(chip => (
        <Chip key={chip.id} chip={chip} />
      ))}
    </div>
  ) : null;
}

function Chip(props: { chip: IChip }): JSX.Element {
  const { assistant, trans } = useServices();
  const { chip } = props;
  const name = describe(chip, trans);
  const sign = about(assistant.context.ledger?.isExact ?? true);
  const tokens =
    chip.tokens === null
      ? ''
      : sign + trans._n('1 token', '%1 tokens', chip.tokens);
  const Icon = ICONS[chip.kind];
  const act = chip.isRemovable
    ? trans.__('Remove')
    : chip.isOn
      ? trans.__('Exclude')
      : trans.__('Include');
  return (
    <button
      type="button"
      className={`jp-MistralChip ${chip.isOn ? 'jp-mod-on' : 'jp-mod-off'}`}
      aria-pressed={chip.isRemovable ? undefined : chip.isOn}
      aria-label={`${act}: ${name}${tokens ? `, ${tokens}` : ''}`}
      title={`${name}${tokens ? ` · ${tokens}` : ''}\n${act}`}
      data-kind={chip.kind}
      onClick={() => assistant.context.toggle(chip)}
    >
      {chip.picture ? (
        <img src={chip.picture} alt="" />
      ) : (
        <Icon.react tag="span" width="14px" height="14px" />
      )}
      <span className="jp-MistralChip-label">{shortLabel(chip, trans)}</span>
      {chip.tokens !== null && (
        <span
          className="jp-MistralChip-tokens"
          title={sign + count(chip.tokens)}
        >
          {sign}
          {short(chip.tokens)}
        </span>
      )}
      {chip.isRemovable && (
        <closeIcon.react tag="span" width="10px" height="10px" />
      )}
    </button>
  );
}

type Trans = ReturnType<typeof useServices>['trans'];

function describe(chip: IChip, trans: Trans): string {
  switch (chip.kind) {
    case 'notebook':
      return trans.__('This notebook (%1)', chip.label);
    case 'cell':
      return trans.__('The active cell %1', chip.label);
    case 'cells':
      return trans.__('The attached cell %1', chip.label);
    case 'selection':
      return trans.__('The selected text');
    case 'error':
      return trans.__('The last error (%1)', chip.label);
    case 'variables':
      return trans._n(
        '1 variable of the kernel',
        '%1 variables of the kernel',
        Number(chip.label)
      );
    case 'file':
      return trans.__('The file %1', chip.label);
    case 'image':
      return chip.picture
        ? trans.__('An image of %1 pixels', chip.label)
        : trans.__('The SVG image %1', chip.label);
  }
}

function shortLabel(chip: IChip, trans: Trans): string {
  switch (chip.kind) {
    case 'notebook':
      return trans.__('notebook');
    case 'cell':
    case 'cells':
      return chip.label.slice(1, -1);
    case 'selection':
      return trans.__('selection');
    case 'variables':
      return trans._n('1 variable', '%1 variables', Number(chip.label));
    default:
      return chip.label;
  }
}
