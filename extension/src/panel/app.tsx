/** The panel, from top to bottom. */
import React, { useEffect, useState } from 'react';
import { Failure } from '../api/protocol';
import { ModelCard } from './models/card';
import { Composer } from './composer/composer';
import { ChatBar, History } from './history';
import { Messages } from './transcript/messages';
import { IconButton } from './controls';
import { FailureWithAction } from './failure';
import { closeIcon } from '@jupyterlab/ui-components';
import { Readiness } from './models/readiness';
import {
  IServices,
  ServicesProvider,
  useReconnect,
  useServices,
  useSignal
} from './services';

export function App(props: {
  services: Omit<IServices, 'report'>;
}): JSX.Element {
  const [failure, setFailure] = useState<Failure | null>(null);
  const [services] = useState<IServices>(() => ({
    ...props.services,
    report: setFailure
  }));
  const { trans, assistant } = services;
  useReconnect(failure, assistant.model, () => setFailure(null));
  const [isHistory, setHistory] = useState(false);
  const [started, setStarted] = useState(0);
  // show a new chat, also if a command started it
  useEffect(() => {
    const show = (): void => {
      setHistory(false);
      setStarted(count => count + 1);
    };
    assistant.chats.started.connect(show);
    return () => {
      assistant.chats.started.disconnect(show);
    };
  }, []);
  // show an answer that begins, also if a button in the notebook asked for it
  useEffect(() => {
    let wasBusy = assistant.chat.isBusy;
    const show = (): void => {
      const { isBusy } = assistant.chat;
      if (isBusy && !wasBusy) {
        setHistory(false);
      }
      wasBusy = isBusy;
    };
    assistant.chats.changed.connect(show);
    return () => {
      assistant.chats.changed.disconnect(show);
    };
  }, []);
  return (
    <ServicesProvider value={services}>
      <ModelCard />
      <ChatBar
        isOpen={isHistory}
        onToggle={() => setHistory(!isHistory)}
        onNew={() => assistant.chats.start()}
      />
      {isHistory ? (
        <History onClose={() => setHistory(false)} />
      ) : (
        <Conversation />
      )}
      {failure && (
        <FailureWithAction failure={failure}>
          <IconButton
            icon={closeIcon}
            label={trans.__('Dismiss')}
            onClick={() => setFailure(null)}
          />
        </FailureWithAction>
      )}
      <Composer started={started} />
    </ServicesProvider>
  );
}

function Conversation(): JSX.Element {
  const { assistant } = useServices();
  useSignal(assistant.chats.changed);
  return assistant.chat.messages.length || assistant.chat.isBusy ? (
    <Messages />
  ) : (
    <Readiness />
  );
}
