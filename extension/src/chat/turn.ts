/** One turn: a question as it is sent, and the messages once its answer begins. */
import { asRecord, IExtras, Part } from '../api/protocol';
import { IMessage, messageOf, toWire } from './message';

/** A question as the composer sends it. */
export interface IQuestion {
  content: Part[];
  extras: IExtras;
  sampling?: Record<string, unknown>;
  /** Called with the answer as soon as the server has accepted the question. */
  onBegin?: (answer: IMessage) => void;
}

export function bodyOf(question: IQuestion, replaces: string | null): unknown {
  return {
    ...question.sampling,
    content: question.content.map(toWire),
    mistral: { ...question.extras, events: true },
    ...(replaces === null ? {} : { replaces })
  };
}

/** Reads the answer that begins, as the server stored it. */
export function answerOf(first: Record<string, unknown>): IMessage {
  return messageOf({
    role: 'assistant',
    state: 'streaming',
    ...asRecord(first.assistant)
  });
}

/** Returns the messages above the answer: those up to `replaces`, then the question as the server stored it. */
export function messagesAbove(
  all: IMessage[],
  first: Record<string, unknown>,
  content: Part[],
  replaces: string | null
): IMessage[] {
  const user = asRecord(first.user);
  const kept = all.findIndex(m => m.id === replaces);
  // regenerating keeps the question, which is in the list already
  const above = (kept < 0 ? all : all.slice(0, kept)).filter(
    m => m.id !== user.id
  );
  if (!user.id) {
    return above;
  }
  const question = messageOf({ role: 'user', ...user });
  if (!question.content.length) {
    question.content = content;
  }
  return [...above, question];
}
