/** Counting the next prompt while it is written. */
import { useEffect } from 'react';
import { useServices, useSignal } from '../services';

const COUNT_MS = 400;

/** Count what would be sent, a moment after it or the model last changed. */
export function useCounting(text: string): void {
  const { assistant } = useServices();
  const { model } = assistant;
  useSignal(model.changed);
  const name = model.isReady ? model.status?.model?.name : '';
  useEffect(() => {
    let timer: number | null = null;
    const later = (): void => {
      if (timer !== null) {
        clearTimeout(timer);
      }
      timer = window.setTimeout(() => {
        if (model.isReady && !assistant.chat.isBusy) {
          void assistant.context.count(
            text,
            assistant.chat.messages,
            !model.lacksVision,
            assistant.sampling
          );
        }
      }, COUNT_MS);
    };
    later();
    const signals = [assistant.context.changed, assistant.chats.changed];
    signals.forEach(signal => signal.connect(later));
    return () => {
      signals.forEach(signal => signal.disconnect(later));
      if (timer !== null) {
        clearTimeout(timer);
      }
    };
  }, [text, name]);
}
