/** The services that the panel's components share. */
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { Contents } from '@jupyterlab/services';
import { TranslationBundle } from '@jupyterlab/translation';
import { ISignal } from '@lumino/signaling';
import {
  createContext,
  useContext,
  useEffect,
  useLayoutEffect,
  useState
} from 'react';
import { Assistant } from '../chat/assistant';
import { isLasting, Model } from '../model/model';
import { Failure } from '../api/protocol';
import { toFailure } from '../api/request';

export interface IServices {
  assistant: Assistant;
  rendermime: IRenderMimeRegistry;
  contents: Contents.IManager;
  trans: TranslationBundle;
  download: (path: string) => Promise<string>;
  /** Uploads bytes and streams the server's events. */
  upload: (path: string, bytes: Blob) => AsyncGenerator<unknown>;
  /** Shows a failure above the composer. */
  report: (failure: Failure | null) => void;
}

const ServicesContext = createContext<IServices | null>(null);
export const ServicesProvider = ServicesContext.Provider;

export function useServices(): IServices {
  return useContext(ServicesContext)!;
}

/** Renders again whenever the signal fires. */
export function useSignal(signal: ISignal<unknown, unknown>): void {
  const [, tick] = useState(0);
  // a layout effect: a signal between rendering and a later effect would be missed
  useLayoutEffect(() => {
    const update = (): void => tick(n => n + 1);
    signal.connect(update);
    return () => {
      signal.disconnect(update);
    };
  }, [signal]);
}

/** Calls `then` once the server answers again, if `failure` says that it does not. */
export function useReconnect(
  failure: Failure | null,
  model: Model,
  then: () => void
): void {
  useEffect(() => {
    if (!failure || isLasting(failure)) {
      return undefined;
    }
    const before = model.status;
    const check = (): void => {
      if (model.status && model.status !== before) {
        then();
      }
    };
    model.changed.connect(check);
    return () => {
      model.changed.disconnect(check);
    };
  }, [failure]);
}

/** Runs the action of a click and reports its failure. */
export function attempt(services: IServices, action: () => unknown): void {
  services.report(null);
  void (async () => {
    try {
      await action();
    } catch (error) {
      if (error !== null) {
        services.report(toFailure(error));
      }
    }
  })();
}
