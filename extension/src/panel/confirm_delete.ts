/** Asks before something is deleted; Enter cancels. */
import { Dialog, showDialog } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import { IMessage } from '../chat/message';
import { IServices } from './services';

export async function confirmDelete(
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

/** Deletes the message and everything below it, after the user has confirmed. */
export async function deleteFrom(
  services: IServices,
  message: IMessage
): Promise<void> {
  const { trans } = services;
  const { chat } = services.assistant;
  const at = chat.messages.findIndex(({ id }) => id === message.id);
  const body = trans._n(
    'This permanently deletes 1 message from this chat.',
    'This permanently deletes %1 messages from this chat.',
    chat.messages.length - at
  );
  if (await confirmDelete(trans.__('Delete messages?'), body, trans)) {
    await chat.remove(message);
  }
}
