/** Splits a growing answer into reasoning and finished blocks of Markdown. Pure. */

/**
 * Splits at blank lines that end a block, so that only the last block is rendered again while text streams in.
 * Never splits fences, display math or indented continuations. The blocks joined by newlines are the text.
 */
export function splitBlocks(text: string): string[] {
  const lines = text.split('\n');
  const blocks: string[] = [];
  let current: string[] = [];
  let fence: string | null = null;
  let isMath = false;
  lines.forEach((line, i) => {
    const mark = /^ {0,3}(`{3,}|~{3,})(.*)$/.exec(line);
    if (fence === null && mark) {
      fence = mark[1];
    } else if (fence !== null && mark && closes(mark, fence)) {
      fence = null;
    } else if (fence === null && (line.match(/\$\$/g)?.length ?? 0) % 2 === 1) {
      isMath = !isMath;
    }
    current.push(line);
    const next = lines[i + 1];
    if (
      fence === null &&
      !isMath &&
      line.trim() === '' &&
      next !== undefined &&
      next !== '' &&
      !/^(\s|[-*+](\s|$)|\d+([.)]|$)|>|\|)/.test(next)
    ) {
      blocks.push(current.join('\n'));
      current = [];
    }
  });
  blocks.push(current.join('\n'));
  return blocks;
}

function closes(mark: RegExpExecArray, fence: string): boolean {
  return (
    mark[1][0] === fence[0] && mark[1].length >= fence.length && !mark[2].trim()
  );
}

export interface IReasonedAnswer {
  /** The model's reasoning before the answer. */
  thinking: string;
  answer: string;
  isThinking: boolean;
}

const TAGS: [string, string][] = [
  ['<think>', '</think>'],
  ['[THINK]', '[/THINK]']
];

/** Separates the reasoning from the answer. Holds back a partial tag while more text may come. */
export function splitThinking(text: string, isWhole = false): IReasonedAnswer {
  const start = text.trimStart();
  for (const [open, close] of TAGS) {
    if (!isWhole && start && open !== start && open.startsWith(start)) {
      return { thinking: '', answer: '', isThinking: true };
    }
    if (start.startsWith(open)) {
      const end = start.indexOf(close);
      return end < 0
        ? {
            thinking: start.slice(open.length).trim(),
            answer: '',
            isThinking: true
          }
        : {
            thinking: start.slice(open.length, end).trim(),
            answer: start.slice(end + close.length).trimStart(),
            isThinking: false
          };
    }
  }
  return { thinking: '', answer: text, isThinking: false };
}

/** Returns the code between fences, including a block that is still open. */
export function codeBlocks(text: string): { language: string; code: string }[] {
  const blocks: { language: string; code: string }[] = [];
  let fence: string | null = null;
  for (const line of text.split('\n')) {
    const mark = /^ {0,3}(`{3,}|~{3,})(.*)$/.exec(line);
    if (fence === null && mark) {
      fence = mark[1];
      blocks.push({ language: mark[2].trim().split(/\s/)[0] ?? '', code: '' });
    } else if (fence !== null && mark && closes(mark, fence)) {
      fence = null;
    } else if (fence !== null) {
      const block = blocks[blocks.length - 1];
      block.code += block.code ? `\n${line}` : line;
    }
  }
  return blocks;
}
