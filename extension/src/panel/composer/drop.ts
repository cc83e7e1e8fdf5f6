/** Drags that begin inside JupyterLab: of cells and of files. */
import { useCallback } from 'react';
import { takeDrop } from './attach';
import { attempt, IServices } from '../services';

/** What of Lumino's drag events is used here. */
interface IDragEvent {
  supportedActions: string;
  dropAction: string;
}

/** Cells and files dragged inside JupyterLab come as Lumino's own drag events, which React does not know. */
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
      // the file browser knows no copying; nothing is moved by us either way
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
      attempt(services, () => takeDrop(services, event));
    });
  }, []);
}
