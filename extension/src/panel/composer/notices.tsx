/** Notices above the text field. */
import React from 'react';
import { useServices, useSignal } from '../services';

/** Warns about images that the model cannot see; nothing is sent meanwhile. */
export function VisionNotice(): JSX.Element | null {
  const { assistant, trans } = useServices();
  useSignal(assistant.context.changed);
  useSignal(assistant.model.changed);
  return assistant.cannotSeeImages ? (
    <div className="jp-MistralFailure" role="alert">
      {trans.__(
        '%1 cannot see images. Load a model with vision, or remove the image.',
        assistant.model.status?.model?.title ?? ''
      )}
    </div>
  ) : null;
}

export function ReadingNotice(): JSX.Element | null {
  const { context } = useServices().assistant;
  useSignal(context.changed);
  return context.attached.reading ? (
    <div className="jp-MistralNote" role="status" dir="auto">
      {context.attached.reading}
    </div>
  ) : null;
}
