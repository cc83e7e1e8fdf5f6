/** A proposed change to a cell, to accept or reject. */
import React, { useEffect, useMemo, useRef } from 'react';
import { diffLines } from '../../text/linediff';
import { Button } from '../controls';
import { useServices } from '../services';

// characters that make code look different from what it does
const HIDDEN = /[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;

function visible(text: string): string {
  return text.replace(
    HIDDEN,
    sign => `⟨U+${sign.charCodeAt(0).toString(16).toUpperCase()}⟩`
  );
}

const SIGNS = { same: ' ', added: '+', removed: '−' };

export function Diff(props: {
  /** The cell's name, `cell 3`. */
  cell: string;
  before: string;
  after: string;
  onAccept: () => void;
  onReject: () => void;
}): JSX.Element {
  const { trans } = useServices();
  const lines = useMemo(
    () => diffLines(props.before, props.after),
    [props.before, props.after]
  );
  const region = useRef<HTMLDivElement>(null);
  useEffect(() => {
    region.current?.focus({ preventScroll: true });
  }, []);
  const isChanged = lines.some(line => line.kind !== 'same');
  const title = isChanged
    ? trans.__('Change %1?', props.cell)
    : trans.__('No changes: %1 already contains this code.', props.cell);
  return (
    <div
      className="jp-MistralDiff"
      role="region"
      aria-label={title}
      tabIndex={-1}
      ref={region}
    >
      <div className="jp-MistralDiff-title">{title}</div>
      {isChanged && (
        <div className="jp-MistralDiff-lines" dir="ltr">
          {lines.map((line, i) => (
            <div key={i} className={`jp-MistralDiff-line jp-mod-${line.kind}`}>
              <span className="jp-MistralDiff-sign" aria-hidden="true">
                {SIGNS[line.kind]}
              </span>
              {line.kind === 'added' && (
                <span className="jp-MistralHidden">{trans.__('added:')}</span>
              )}
              {line.kind === 'removed' && (
                <span className="jp-MistralHidden">{trans.__('removed:')}</span>
              )}
              <span>{visible(line.text) || ' '}</span>
            </div>
          ))}
        </div>
      )}
      <div className="jp-MistralDiff-buttons">
        {isChanged && (
          <Button kind="primary" onClick={props.onAccept}>
            {trans.__('Accept')}
          </Button>
        )}
        <Button onClick={props.onReject}>
          {isChanged ? trans.__('Reject') : trans.__('Close')}
        </Button>
      </div>
    </div>
  );
}
