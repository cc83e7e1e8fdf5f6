/** What the panel's components share, handed down once. */
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
import { Failure } from '../protocol';
import { toFailure } from '../api/request';

export interface IServices {
  assistant: Assistant;
  rendermime: IRenderMimeRegistry;
  contents: Contents.IManager;
  trans: TranslationBundle;
  download: (path: string) => Promise<string>;
  /** Send bytes and read what the server makes of them. */
  upload: (path: string, bytes: Blob) => AsyncGenerator<unknown>;
  /** Shows a failure where the user looks: above the composer. */
  report: (failure: Failure | null) => void;
}

const ServicesContext = createContext<IServices | null>(null);
export const ServicesProvider = ServicesContext.Provider;

export function useServices(): IServices {
  return useContext(ServicesContext)!;
}

/** Draw again whenever the signal fires. */
export function useSignal(signal: ISignal<unknown, unknown>): void {
  const [, tick] = useState(0);
  // a layout effect: what fires between drawing and a later effect would not be drawn
  useLayoutEffect(() => {
    const update = (): void => tick(n => n + 1);
    signal.connect(update);
    return () => {
      signal.disconnect(update);
    };
  }, [signal]);
}

/** Call `then` as soon as the server answers again, where `failure` says that it does not. */
export function useReturn(
  failure: Failure | null,
  model: Model,
  then: () => void
): void {
  useEffect(() => {
    if (!failure || isLasting(failure)) {
      return undefined;
    }
    const before = model.status;
    const look = (): void => {
      if (model.status && model.status !== before) {
        then();
      }
    };
    model.changed.connect(look);
    return () => {
      model.changed.disconnect(look);
    };
  }, [failure]);
}

/** Run what a click asked for; what goes wrong is told as a sentence. */
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
