/** Completion of `/` and `@` at the caret. Pure. */

export interface ITrigger {
  kind: '/' | '@';
  query: string;
  from: number;
  to: number;
}

export interface ISuggestion {
  kind: 'command' | 'cell' | 'variable' | 'file' | 'context';
  /** The text that replaces the typed word. */
  insert: string;
  label: string;
  detail: string;
  /** Identifies the item: a cell's id, a file's path. */
  value: string;
}

/** Returns the word that is being typed: `/` only at the very start, `@` at the start of any word. */
export function triggerAt(text: string, caret: number): ITrigger | null {
  const before = text.slice(0, caret);
  const slash = /^\/([\w-]*)$/.exec(before);
  if (slash) {
    return { kind: '/', query: slash[1], from: 0, to: caret };
  }
  const at = /(?:^|[\s(])@([^\s@]*)$/.exec(before);
  return at
    ? { kind: '@', query: at[1], from: caret - at[1].length - 1, to: caret }
    : null;
}

/** Returns at most `most` suggestions that contain the query; those that start with it come first. */
export function filterSuggestions(
  all: ISuggestion[],
  query: string,
  most = 8
): ISuggestion[] {
  const typed = query.toLowerCase();
  const rank = (s: ISuggestion): number => {
    const label = s.label.toLowerCase();
    return label.startsWith(typed) || label.slice(1).startsWith(typed)
      ? 0
      : label.includes(typed) ||
          (s.kind === 'cell' && s.detail.toLowerCase().includes(typed))
        ? 1
        : 2;
  };
  return all
    .map(suggestion => ({ suggestion, rank: rank(suggestion) }))
    .filter(({ rank }) => rank < 2)
    .sort((a, b) => a.rank - b.rank)
    .slice(0, most)
    .map(({ suggestion }) => suggestion);
}

/** Replaces the typed word; returns the text and the new position of the caret. */
export function accept(
  text: string,
  trigger: ITrigger,
  insert: string
): { text: string; caret: number } {
  const head = text.slice(0, trigger.from) + insert;
  const rest = text.slice(trigger.to);
  const space = insert && !rest.startsWith(' ') ? ' ' : '';
  return { text: head + space + rest, caret: head.length + space.length };
}

/** Splits `/fix why?` into the command and the text after it. */
export function splitCommand(
  text: string
): { name: string; rest: string } | null {
  const match = /^\/([a-z]+)(?:\s+([\s\S]*))?$/.exec(text.trim());
  return match ? { name: match[1], rest: match[2] ?? '' } : null;
}
