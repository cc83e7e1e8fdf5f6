/** Formats numbers for people. */

/** Keeps a number and its unit on one line. */
const NO_BREAK = '\u00a0';

export function bytes(count: number): string {
  const gib = count / 2 ** 30;
  return gib >= 0.1
    ? `${gib.toFixed(gib < 10 ? 1 : 0)}${NO_BREAK}GiB`
    : `${Math.round(count / 2 ** 20)}${NO_BREAK}MiB`;
}

export function seconds(count: number): string {
  if (count < 10) {
    return `${count.toFixed(1)}${NO_BREAK}s`;
  }
  return count < 90
    ? `${Math.round(count)}${NO_BREAK}s`
    : `${Math.round(count / 60)}${NO_BREAK}min`;
}

export function count(tokens: number): string {
  return Math.round(tokens).toLocaleString('en-US');
}

/** Short enough for a chip: `12`, `1.2k` or `58k`. */
export function short(tokens: number): string {
  if (tokens < 1000) {
    return String(tokens);
  }
  // context lengths are powers of two: 32,768 is known as 32k
  const thousands = tokens / (tokens % 1024 ? 1000 : 1024);
  return `${thousands < 10 ? thousands.toFixed(1) : Math.round(thousands)}k`;
}

/** Keeps a short text on one line. */
export function unbroken(text: string): string {
  return text.replace(/ /g, NO_BREAK);
}

/** The sign before a number: `≈` for an estimate. */
export function about(isExact: boolean): string {
  return isExact ? '' : '≈';
}

export function joules(energy: number): string {
  return energy < 3600
    ? `${energy < 10 ? energy.toFixed(1) : Math.round(energy)}${NO_BREAK}J`
    : `${(energy / 3600).toFixed(1)}${NO_BREAK}Wh`;
}
