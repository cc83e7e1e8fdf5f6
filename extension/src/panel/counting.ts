/** Counting the next prompt while it is written. */
import { useEffect } from 'react';
import { textOf } from '../message';
import { useServices } from './services';

const COUNT_MS = 400;

/** Count what would be sent, a moment after it last changed. */
export function useCounting(text: string): void {
  const { assistant } = useServices();
  useEffect(() => {
    let timer: number | null = null;
    const later = (): void => {
      if (timer !== null) {
        clearTimeout(timer);
      }
      timer = window.setTimeout(() => {
        if (assistant.host.isReady && !assistant.chat.isBusy) {
          const before = assistant.chat.messages.filter(m => textOf(m));
          void assistant.context.count(text, before);
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
  }, [text]);
}
