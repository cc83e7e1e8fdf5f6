/** Buttons, progress bar and failure note of the panel. */
import { copyIcon, LabIcon } from '@jupyterlab/ui-components';
import React from 'react';
import { Failure } from '../api/protocol';

export function IconButton(props: {
  icon: LabIcon;
  label: string;
  onClick: () => void;
  disabled?: boolean;
  pressed?: boolean;
  expanded?: boolean;
  className?: string;
}): JSX.Element {
  return (
    <button
      type="button"
      className={`jp-MistralIconButton ${props.className ?? ''}`}
      title={props.label}
      aria-label={props.label}
      aria-pressed={props.pressed}
      aria-expanded={props.expanded}
      disabled={props.disabled}
      onClick={props.onClick}
    >
      <props.icon.react tag="span" width="16px" height="16px" />
    </button>
  );
}

export function Button(props: {
  children: React.ReactNode;
  onClick: () => void;
  kind?: 'primary' | 'plain' | 'danger';
  disabled?: boolean;
  title?: string;
}): JSX.Element {
  return (
    <button
      type="button"
      className={`jp-MistralButton jp-mod-${props.kind ?? 'plain'}`}
      disabled={props.disabled}
      title={props.title}
      onClick={props.onClick}
    >
      {props.children}
    </button>
  );
}

/** `fraction` is null if the duration is unknown. */
export function ProgressBar(props: {
  fraction: number | null;
  label: string;
}): JSX.Element {
  const percent = Math.round((props.fraction ?? 0) * 100);
  return (
    <div
      className={`jp-MistralProgress ${props.fraction === null ? 'jp-mod-unknown' : ''}`}
      role="progressbar"
      aria-label={props.label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={props.fraction === null ? undefined : percent}
    >
      <div
        style={props.fraction === null ? undefined : { width: `${percent}%` }}
      />
    </div>
  );
}

/** A failure and what to do about it, as plain text. */
export function FailureNote(props: {
  failure: Failure;
  children?: React.ReactNode;
  role?: 'alert' | 'note';
}): JSX.Element {
  return (
    <div className="jp-MistralFailure" role={props.role ?? 'alert'} dir="auto">
      <span>{props.failure.message}</span>
      {props.failure.todo && (
        <span className="jp-MistralFailure-todo"> {props.failure.todo}</span>
      )}
      {props.children}
    </div>
  );
}

export function CopyButton(props: {
  label: string;
  onClick: () => void;
}): JSX.Element {
  return <IconButton icon={copyIcon} {...props} />;
}
