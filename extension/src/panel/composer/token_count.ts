/** Counts the tokens of the next prompt while it is written. */
import { useEffect } from 'react';
import { useServices, useSignal } from '../services';

const COUNT_MS = 400;

/** Counts shortly after the prompt or the model last changed. */
export function useTokenCount(text: string): void {
  const { assistant } = useServices();
  const { model } = assistant;
  useSignal(model.changed);
  const name = model.isReady ? model.status?.model?.name : '';
  useEffect(() => {
    let timer: number | null = null;
    const schedule = (): void => {
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
    schedule();
    const signals = [assistant.context.changed, assistant.chats.changed];
    signals.forEach(signal => signal.connect(schedule));
    return () => {
      signals.forEach(signal => signal.disconnect(schedule));
      if (timer !== null) {
        clearTimeout(timer);
      }
    };
  }, [text, name]);
}
