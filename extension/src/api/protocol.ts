/**
 * The messages between the panel and the server. Their types are generated from the server's OpenAPI file (`jlpm types`);
 * here they are read from JSON. The samples in tests/samples hold both sides together.
 */
import { trans } from '../translation';
import type { components } from './schema';

type Schemas = components['schemas'];

export type Role = 'system' | 'user' | 'assistant';
export type Scope = NonNullable<Schemas['ExtrasBody']['scope']>;
export type ModelState = Schemas['Status']['state'];

export const IMAGE_TYPES = [
  'image/png',
  'image/jpeg',
  'image/webp',
  'image/gif'
];
export const MAX_IMAGES = 8;
export const MAX_IMAGE_BYTES = 20 * 2 ** 20;
/** What may be sent as a picture; the server makes pixels of drawings too. */
export const SVG = 'image/svg+xml';
export const PICTURE_TYPES = [...IMAGE_TYPES, SVG];
export const DOCUMENT_TYPE = 'application/pdf';
export const MAX_DOCUMENT_BYTES = 50 * 2 ** 20;

/** What went wrong and what to do next, each one sentence; never markup. */
export class Failure extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly todo = ''
  ) {
    super(message);
    this.name = 'Failure';
  }

  /** Reads OpenAI's error object; `message` there ends with `todo`. */
  static of(data: unknown): Failure {
    const error = asRecord(data);
    const todo = asText(error.todo);
    const whole = asText(error.message) || trans.__('Unknown error.');
    const message =
      todo && whole.endsWith(todo)
        ? whole.slice(0, -todo.length).trim()
        : whole;
    return new Failure(asText(error.code) || 'internal', message, todo);
  }

  get sentence(): string {
    return `${this.message} ${this.todo}`.trim();
  }
}

/** A page of a document as Markdown, by its number from 1. */
export interface IPage {
  number: number;
  markdown: string;
  how: 'text' | 'ocr' | 'none';
}

/**
 * What was read of a PDF; `markdown` has all pages, each under its anchor `[page 3]`, which answers cite.
 *
 * `POST mistral/api/read?pages=2-5,8&ocr=auto|on|off`, the file's bytes as `application/pdf` (50 MB at most): a stream of
 * `{mistral: {event: 'page_read', done, total, how}}`, one a page, then `{mistral: {event: 'document', document: IDocument}}`
 * and [DONE]; what fails at once has its HTTP status, what fails later is an error chunk.
 */
export interface IDocument {
  title: string;
  page_count: number;
  pages: IPage[];
  markdown: string;
}

/** A picture in a message's content, a data: URL. */
export interface IPicture {
  image_url: string;
}
export type Part = string | IPicture;

/** The cost of an answer: exact token counts, *_s in seconds, speeds in tokens per second, energy in joules (null: not measured). */
export type IUsage = Required<Omit<Schemas['Usage'], 'parts'>> & {
  /** Of a notebook read in parts: the notes on each. */
  parts?: { cells: string; notes: string }[];
};
export type ILoading = Required<Schemas['Loading']>;
export type IModelCard = Required<Schemas['ModelCard']>;

export type IStatus = Required<
  Pick<
    Schemas['Status'],
    | 'version'
    | 'state'
    | 'default_model'
    | 'running'
    | 'queued'
    | 'worker_pid'
    | 'idle_unload_s'
  >
> & {
  model: IModelCard | null;
  progress: ILoading | null;
  memory: Required<Schemas['Memory']>;
  seal: Omit<Required<Schemas['Seal']>, 'kind'> & { kind: string };
  last: IUsage | null;
  failure: Failure | null;
};

/** The events of an answer: any number of progress and text events, then one end; a failure is thrown instead. */
export type ChatEvent =
  | ({ type: 'queued' } & Schemas['Queued'])
  | ({ type: 'loading' } & ILoading)
  | ({ type: 'reading' } & Required<Schemas['Reading']>)
  | { type: 'delta'; text: string }
  | { type: 'end'; reason: string; usage: IUsage };

/** The `mistral` field of a request. */
export type IExtras = Partial<
  Omit<Schemas['ExtrasBody'], 'notebook' | 'variables'>
> & {
  notebook?: INotebookSnapshot;
  variables?: IVariable[];
};

export type IVariable = {
  name: string;
  type: string;
  summary: string;
};

/** nbformat 4 cells as shown in the editor; the data of an image may be its number of bytes. */
export type INotebookSnapshot = Schemas['NotebookBody'] & {
  language: string;
  path: string;
};

export type Record_ = Record<string, unknown>;

export function asRecord(value: unknown): Record_ {
  return value !== null && typeof value === 'object' && !Array.isArray(value)
    ? (value as Record_)
    : {};
}

export function asText(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

export function asNumber(value: unknown): number {
  return typeof value === 'number' && Number.isFinite(value) ? value : 0;
}

export function asNumberOrNull(value: unknown): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}

export function asList(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

export function asTexts(value: unknown): string[] {
  return asList(value).filter(
    (item): item is string => typeof item === 'string'
  );
}

/** Reads OpenAI's usage object with ours under `mistral`; a stock server's, which lacks it, too. */
export function usageOf(data: unknown): IUsage {
  const usage = asRecord(data);
  const mine = asRecord(usage.mistral);
  return {
    prompt_tokens: asNumber(usage.prompt_tokens),
    completion_tokens: asNumber(usage.completion_tokens),
    cached_tokens: asNumber(
      asRecord(usage.prompt_tokens_details).cached_tokens
    ),
    time_to_first_token_s: asNumber(mine.time_to_first_token_s),
    tokens_per_second: asNumber(mine.tokens_per_second),
    prefill_tokens_per_second: asNumber(mine.prefill_tokens_per_second),
    seconds: asNumber(mine.seconds),
    model: asText(mine.model),
    quantization: asText(mine.quantization),
    seed: asNumberOrNull(mine.seed),
    context_length: asNumber(mine.context_length),
    energy_j: asNumberOrNull(mine.energy_j),
    left_out: asTexts(mine.left_out),
    ...(asList(mine.parts).length
      ? {
          parts: asList(mine.parts).map(part => ({
            cells: asText(asRecord(part).cells),
            notes: asText(asRecord(part).notes)
          }))
        }
      : {})
  };
}

export function loadingOf(data: unknown): ILoading {
  const loading = asRecord(data);
  return {
    stage: (asText(loading.stage) || 'load') as ILoading['stage'],
    fraction: asNumberOrNull(loading.fraction),
    detail: asText(loading.detail),
    eta_s: asNumberOrNull(loading.eta_s)
  };
}

/** The event of a chunk, null for one that carries nothing for us. An error chunk is thrown as its `Failure`. */
export function eventOf(chunk: unknown): ChatEvent | null {
  const data = asRecord(chunk);
  if (data.error) {
    throw Failure.of(data.error);
  }
  const mine = asRecord(data.mistral);
  switch (mine.event) {
    case 'queued':
      return { type: 'queued', position: asNumber(mine.position) };
    case 'loading':
      return { type: 'loading', ...loadingOf(mine) };
    case 'reading':
      return {
        type: 'reading',
        done: asNumber(mine.done),
        total: asNumber(mine.total),
        reused: asNumber(mine.reused),
        eta_s: asNumberOrNull(mine.eta_s),
        part: asNumber(mine.part),
        parts: asNumber(mine.parts)
      };
  }
  const choice = asRecord(asList(data.choices)[0]);
  if (choice.finish_reason) {
    return {
      type: 'end',
      reason: asText(choice.finish_reason),
      usage: usageOf(data.usage)
    };
  }
  // completions have `text`, chats a `delta`
  const text = asText(asRecord(choice.delta).content) || asText(choice.text);
  return text ? { type: 'delta', text } : null;
}

function cardOf(data: unknown): IModelCard | null {
  const card = asRecord(data);
  return card.name
    ? {
        name: asText(card.name),
        title: asText(card.title) || asText(card.name),
        licence: asText(card.licence),
        parameters: asNumber(card.parameters),
        quantization: asText(card.quantization),
        context_length: asNumber(card.context_length),
        can: asTexts(card.can),
        kv: asText(card.kv),
        adapter: asText(card.adapter)
      }
    : null;
}

export function statusOf(data: unknown): IStatus {
  const status = asRecord(data);
  const memory = asRecord(status.memory);
  const seal = asRecord(status.seal);
  return {
    version: asText(status.version),
    state: (asText(status.state) || 'unloaded') as ModelState,
    default_model: asText(status.default_model),
    model: cardOf(status.model),
    progress: status.progress ? loadingOf(status.progress) : null,
    running: asNumber(status.running),
    queued: asNumber(status.queued),
    memory: {
      device: asText(memory.device),
      weights: asNumber(memory.weights),
      kv: asNumber(memory.kv),
      free: asNumber(memory.free),
      total: asNumber(memory.total),
      others: asNumberOrNull(memory.others),
      gpu: asText(memory.gpu),
      power_w: asNumberOrNull(memory.power_w),
      temperature_c: asNumberOrNull(memory.temperature_c),
      spilled: asNumber(memory.spilled)
    },
    seal: {
      kind: asText(seal.kind) || 'none',
      measured: seal.measured === true,
      reason: asText(seal.reason)
    },
    last: status.last ? usageOf(status.last) : null,
    failure: status.failure ? Failure.of(status.failure) : null,
    worker_pid: asNumberOrNull(status.worker_pid),
    idle_unload_s: asNumber(status.idle_unload_s)
  };
}
