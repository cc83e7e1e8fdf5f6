/** The shortest line diff of two texts. Pure. */

export interface IDiffLine {
  kind: 'same' | 'added' | 'removed';
  text: string;
}

/** Above this many line pairs the middle is shown as replaced, because the table would block the page. */
const MAX_PAIRS = 4_000_000;

export function diffLines(before: string, after: string): IDiffLine[] {
  const a = before.split('\n');
  const b = after.split('\n');
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) {
    head++;
  }
  let tail = 0;
  while (
    tail < a.length - head &&
    tail < b.length - head &&
    a[a.length - 1 - tail] === b[b.length - 1 - tail]
  ) {
    tail++;
  }
  const same = (text: string): IDiffLine => ({ kind: 'same', text });
  return [
    ...a.slice(0, head).map(same),
    ...diffMiddle(
      a.slice(head, a.length - tail),
      b.slice(head, b.length - tail)
    ),
    ...a.slice(a.length - tail).map(same)
  ];
}

function diffMiddle(a: string[], b: string[]): IDiffLine[] {
  const all = (lines: string[], kind: IDiffLine['kind']): IDiffLine[] =>
    lines.map(text => ({ kind, text }));
  if (a.length * b.length > MAX_PAIRS) {
    return [...all(a, 'removed'), ...all(b, 'added')];
  }
  // longest[i][j]: common lines of a from i and b from j
  const longest = Array.from(
    { length: a.length + 1 },
    () => new Uint32Array(b.length + 1)
  );
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      longest[i][j] =
        a[i] === b[j]
          ? longest[i + 1][j + 1] + 1
          : Math.max(longest[i + 1][j], longest[i][j + 1]);
    }
  }
  const lines: IDiffLine[] = [];
  let [i, j] = [0, 0];
  while (i < a.length && j < b.length) {
    if (a[i] === b[j]) {
      lines.push({ kind: 'same', text: a[i] });
      i++;
      j++;
    } else if (longest[i + 1][j] >= longest[i][j + 1]) {
      lines.push({ kind: 'removed', text: a[i++] });
    } else {
      lines.push({ kind: 'added', text: b[j++] });
    }
  }
  return [...lines, ...all(a.slice(i), 'removed'), ...all(b.slice(j), 'added')];
}
