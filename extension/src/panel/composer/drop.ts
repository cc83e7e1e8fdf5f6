/** Drag and drop of cells and files inside JupyterLab. */
import { useCallback } from 'react';
import { attachDrop } from './attach';
import { attempt, IServices } from '../services';

/** A Lumino drag event, as far as it is used here. */
interface IDragEvent {
  supportedActions: string;
  dropAction: string;
}

/** Handles Lumino's own drag events, which React does not know. */
export function useLuminoDrop(
  services: IServices,
  setOver: (isOver: boolean) => void
): (node: HTMLDivElement | null) => void {
  return useCallback((node: HTMLDivElement | null) => {
    if (!node) {
      return;
    }
    const stop = (event: Event): void => {
      event.preventDefault();
      event.stopPropagation();
    };
    node.addEventListener('lm-dragenter', stop);
    node.addEventListener('lm-dragover', event => {
      stop(event);
      const drag = event as unknown as IDragEvent;
      // the file browser only supports moving; nothing is actually moved
      drag.dropAction = drag.supportedActions === 'move' ? 'move' : 'copy';
      setOver(true);
    });
    node.addEventListener('lm-dragleave', event => {
      stop(event);
      setOver(false);
    });
    node.addEventListener('lm-drop', event => {
      stop(event);
      setOver(false);
      attempt(services, () => attachDrop(services, event));
    });
  }, []);
}
