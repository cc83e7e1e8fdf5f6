/** One message of a chat, and its JSON. */
import {
  asList,
  asNumber,
  asRecord,
  asText,
  Failure,
  IUsage,
  MAX_IMAGES,
  Part,
  usageOf
} from '../api/protocol';

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

/** Returns a part as the server expects it. */
export function toWire(part: Part): unknown {
  return typeof part === 'string'
    ? part
    : { image_url: { url: part.image_url } };
}

/**
 * Returns messages as they appear in the prompt, to count their tokens: no empty messages, and only the latest images
 * (none if the model has no vision).
 */
export function toPrompt(
  messages: Pick<IMessage, 'role' | 'content'>[],
  hasVision: boolean
): unknown[] {
  let room = MAX_IMAGES;
  const toPart = (part: Part): unknown[] => {
    if (typeof part === 'string') {
      return part ? [{ type: 'text', text: part }] : [];
    }
    if (!hasVision) {
      return [];
    }
    return --room >= 0
      ? [{ type: 'image_url', ...(toWire(part) as object) }]
      : [{ type: 'text', text: '[an earlier picture]' }];
  };
  return [...messages]
    .reverse()
    .map(({ role, content }) => ({
      role,
      content: [...content].reverse().flatMap(toPart).reverse()
    }))
    .filter(({ content }) => content.length)
    .reverse();
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
