/** One message of a chat, and how it is written in JSON. */
import {
  asList,
  asNumber,
  asRecord,
  asText,
  Failure,
  IUsage,
  Part,
  usageOf
} from './protocol';

export type MessageState = 'done' | 'streaming' | 'interrupted' | 'failed';

export interface IMessage {
  id: string;
  role: 'user' | 'assistant';
  content: Part[];
  state: MessageState;
  usage: IUsage | null;
  failure: Failure | null;
  created: number;
}

export function textOf(message: IMessage): string {
  return message.content
    .filter((part): part is string => typeof part === 'string')
    .join('');
}

/** The short form of pictures that the server takes. */
export function toWire(part: Part): unknown {
  return typeof part === 'string'
    ? part
    : { image_url: { url: part.image_url } };
}

function partOf(data: unknown): Part {
  if (typeof data === 'string') {
    return data;
  }
  const record = asRecord(data);
  const image = record.image_url;
  return image === undefined
    ? asText(record.text)
    : { image_url: asText(image) || asText(asRecord(image).url) };
}

export function messageOf(data: unknown): IMessage {
  const message = asRecord(data);
  const content = message.content;
  return {
    id: asText(message.id),
    role: message.role === 'user' ? 'user' : 'assistant',
    content:
      typeof content === 'string' ? [content] : asList(content).map(partOf),
    state: (asText(message.state) || 'done') as MessageState,
    usage: message.usage ? usageOf(message.usage) : null,
    failure: message.failure ? Failure.of(message.failure) : null,
    created: asNumber(message.created)
  };
}
