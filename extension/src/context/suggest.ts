/** What `/` and `@` offer at the caret. Pure. */

export interface ITrigger {
  kind: '/' | '@';
  query: string;
  from: number;
  to: number;
}

export interface ISuggestion {
  kind: 'command' | 'cell' | 'variable' | 'file' | 'context';
  /** What is put in the text's place. */
  insert: string;
  label: string;
  detail: string;
  /** Of what it names: a cell's index, a file's path. */
  value: string;
}

/** The word that is being typed: `/` only at the very start, `@` at the start of any word. */
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

/** Those that hold the query, the ones that begin with it first; `most` at most. */
export function filterSuggestions(
  all: ISuggestion[],
  query: string,
  most = 8
): ISuggestion[] {
  const wanted = query.toLowerCase();
  const rank = (s: ISuggestion): number => {
    const label = s.label.toLowerCase();
    return label.startsWith(wanted) || label.slice(1).startsWith(wanted)
      ? 0
      : label.includes(wanted) ||
          (s.kind === 'cell' && s.detail.toLowerCase().includes(wanted))
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

/** The text with the trigger's word replaced, and where the caret then stands. */
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

/** `/fix why?` as its command and the words after it. */
export function splitCommand(
  text: string
): { name: string; rest: string } | null {
  const found = /^\/([a-z]+)(?:\s+([\s\S]*))?$/.exec(text.trim());
  return found ? { name: found[1], rest: found[2] ?? '' } : null;
}
