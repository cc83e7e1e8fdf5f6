/** How much of the model's context the next prompt fills. */
import React from 'react';
import { about, count, short } from '../format';
import { useServices, useSignal } from '../services';

export function Meter(): JSX.Element | null {
  const { assistant, trans } = useServices();
  useSignal(assistant.context.counted);
  useSignal(assistant.context.changed);
  const ledger = assistant.context.ledger;
  const size =
    ledger?.window || assistant.model.status?.model?.context_length || 0;
  if (!ledger || !size) {
    return null;
  }
  const share = Math.min(1, ledger.total / size);
  const total = about(ledger.isExact) + count(ledger.total);
  const label = trans.__('%1 of %2 tokens', total, count(size));
  const leftOut = ledger.leftOut.length
    ? trans.__('Left out: %1', ledger.leftOut.join(', '))
    : '';
  const { context } = assistant;
  const isCellLeftOut = ledger.rows.some(
    row => row.cell !== null && !row.isKept
  );
  return (
    <>
      <div
        className={`jp-MistralMeter ${share > 0.9 ? 'jp-mod-full' : ''}`}
        role="meter"
        aria-label={trans.__('Tokens in the next prompt')}
        aria-valuemin={0}
        aria-valuemax={size}
        aria-valuenow={ledger.total}
        aria-valuetext={`${label}. ${leftOut}`}
        title={`${label}\n${leftOut}`.trim()}
      >
        <svg viewBox="0 0 20 20" width="14" height="14" aria-hidden="true">
          <circle cx="10" cy="10" r="8" />
          <circle
            cx="10"
            cy="10"
            r="8"
            pathLength="100"
            strokeDasharray={`${share * 100} 100`}
          />
        </svg>
        <span>
          {about(ledger.isExact)}
          {short(ledger.total)} / {short(size)}
        </span>
        {leftOut && (
          <span className="jp-MistralMeter-out">
            {trans._n(
              '1 part left out',
              '%1 parts left out',
              ledger.leftOut.length
            )}
          </span>
        )}
      </div>
      {(isCellLeftOut || context.isThorough) && (
        <button
          type="button"
          className="jp-MistralThorough"
          aria-pressed={context.isThorough}
          title={trans.__(
            'Read the notebook in parts. The answer takes longer.'
          )}
          onClick={() => context.setThorough(!context.isThorough)}
        >
          {trans.__('Read whole notebook')}
        </button>
      )}
    </>
  );
}
