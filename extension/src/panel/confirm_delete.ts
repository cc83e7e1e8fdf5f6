/** Asks before something is gone for good; Enter keeps it. */
import { Dialog, showDialog } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import { IMessage } from '../chat/message';
import { IServices } from './services';

export async function isSure(
  title: string,
  body: string,
  trans: TranslationBundle
): Promise<boolean> {
  const { button } = await showDialog({
    title,
    body,
    buttons: [
      Dialog.cancelButton(),
      Dialog.warnButton({ label: trans.__('Delete') })
    ],
    defaultButton: 0
  });
  return button.accept;
}

/** Delete the message and what follows it, once the user has said so. */
export async function deleteFrom(
  services: IServices,
  message: IMessage
): Promise<void> {
  const { trans } = services;
  const { chat } = services.assistant;
  const at = chat.messages.findIndex(({ id }) => id === message.id);
  const body = trans._n(
    '1 message of this chat will be gone for good.',
    '%1 messages of this chat will be gone for good.',
    chat.messages.length - at
  );
  if (await isSure(trans.__('Delete from here on?'), body, trans)) {
    await chat.remove(message);
  }
}
