/** What stands above the field before a question is sent. */
import React from 'react';
import { useServices, useSignal } from '../services';

/** Said before sending, not after; until then nothing is sent. */
export function Blindness(): JSX.Element | null {
  const { assistant, trans } = useServices();
  useSignal(assistant.context.changed);
  useSignal(assistant.model.changed);
  return assistant.cannotSeeImages ? (
    <div className="jp-MistralFailure" role="alert">
      {trans.__(
        '%1 cannot see pictures. Load a model that can, or remove the picture.',
        assistant.model.status?.model?.title ?? ''
      )}
    </div>
  ) : null;
}

export function BeingRead(): JSX.Element | null {
  const { context } = useServices().assistant;
  useSignal(context.changed);
  return context.attached.reading ? (
    <div className="jp-MistralNote" role="status" dir="auto">
      {context.attached.reading}
    </div>
  ) : null;
}
