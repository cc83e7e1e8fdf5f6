/** The suggestions for `/` and `@` in this notebook, and what choosing one does. */
import { useEffect, useState } from 'react';
import { cellName } from '../../context/attachments';
import { snapshot } from '../../notebook/snapshot';
import { asRecord, asText } from '../../api/protocol';
import {
  filterSuggestions,
  ISuggestion,
  ITrigger
} from '../../context/suggest';
import { attachPath } from './attach';
import { IServices, useServices } from '../services';

const MAX_FILES = 500;

export function useSuggestions(trigger: ITrigger | null): ISuggestion[] {
  const services = useServices();
  const [files, setFiles] = useState<ISuggestion[]>([]);
  const isAt = trigger?.kind === '@';
  useEffect(() => {
    if (isAt) {
      void listFiles(services).then(setFiles);
    }
  }, [isAt]);
  if (!trigger) {
    return [];
  }
  return trigger.kind === '/'
    ? filterSuggestions(commands(services), trigger.query)
    : filterSuggestions(
        [...variables(services), ...cells(services), ...files],
        trigger.query
      );
}

/** Attaches a chosen cell or file; for a variable, includes the kernel's variables. */
export async function applySuggestion(
  services: IServices,
  suggestion: ISuggestion
): Promise<void> {
  const { context } = services.assistant;
  if (suggestion.kind === 'cell') {
    context.attached.addCell(suggestion.value);
  } else if (suggestion.kind === 'file') {
    await attachPath(services, suggestion.value);
  } else if (suggestion.kind === 'variable') {
    context.set('variables', true);
  }
}

function commands({ assistant, trans }: IServices): ISuggestion[] {
  const rows = [
    ...assistant.tasks.map(({ name, help }) => ({ name: String(name), help })),
    { name: 'clear', help: trans.__('Start a new chat') },
    { name: 'help', help: trans.__('List the commands') }
  ];
  return rows.map(({ name, help }) => ({
    kind: 'command',
    insert: `/${name}`,
    label: `/${name}`,
    detail: help,
    value: name
  }));
}

function variables({ assistant }: IServices): ISuggestion[] {
  return assistant.context.variables.all.map(({ name, type }) => ({
    kind: 'variable',
    insert: `\`${name}\``,
    label: name,
    detail: type,
    value: name
  }));
}

function cells({ assistant }: IServices): ISuggestion[] {
  const panel = assistant.notebook;
  return (panel ? snapshot(panel).cells : []).map((json, i) => {
    const cell = asRecord(json);
    const source = asText(cell.source).trim();
    return {
      kind: 'cell',
      insert: cellName(i),
      label: `cell ${i}`,
      detail: source.split('\n')[0].slice(0, 60),
      value: asText(cell.id)
    };
  });
}

async function listFiles({
  assistant,
  contents
}: IServices): Promise<ISuggestion[]> {
  const path = assistant.notebook?.context.path ?? '';
  const folder = path.split('/').slice(0, -1).join('/');
  try {
    const model = await contents.get(folder, { content: true });
    const items = (Array.isArray(model.content) ? model.content : []) as {
      name: string;
      path: string;
      type: string;
    }[];
    return items
      .filter(item => item.type === 'file')
      .slice(0, MAX_FILES)
      .map(item => ({
        kind: 'file',
        insert: `\`${item.name}\``,
        label: item.name,
        detail: '',
        value: item.path
      }));
  } catch {
    return []; // the folder cannot be read: no suggestions
  }
}
