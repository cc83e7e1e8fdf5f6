import { codeBlocks, splitBlocks, splitThinking } from '../text/blocks';
import { diffLines } from '../text/linediff';
import {
  accept,
  filterSuggestions,
  ISuggestion,
  splitCommand,
  triggerAt
} from '../context/suggest';

describe('splitBlocks', () => {
  it('never cuts fences', () => {
    const text = 'a\n\n```py\nx\n\ny\n```\n\nb';
    expect(splitBlocks(text)).toEqual(['a\n', '```py\nx\n\ny\n```\n', 'b']);
  });

  it('never loses text', () => {
    const text =
      '# t\n\n- a\n\n- b\n\n$$\nx\n\ny\n$$\n\n| a |\n|---|\n\n~~~\n```\n\n~~~\nend\n';
    for (let length = 0; length <= text.length; length++) {
      const part = text.slice(0, length);
      expect(splitBlocks(part).join('\n')).toBe(part);
    }
  });

  it('never changes a finished block', () => {
    const text = 'one\n\n```py\na\n\nb\n```\n\ntwo\n\n- x\n\n  y\n\nthree';
    let before: string[] = [];
    for (let length = 0; length <= text.length; length++) {
      const blocks = splitBlocks(text.slice(0, length));
      expect(blocks.slice(0, before.length - 1)).toEqual(before.slice(0, -1));
      before = blocks;
    }
    expect(before.length).toBe(4);
  });
});

describe('splitThinking', () => {
  it.each([
    ['<think>hm', 'hm', '', true],
    ['<think>hm</think>\n\nyes', 'hm', 'yes', false],
    ['[THINK]hm[/THINK]yes', 'hm', 'yes', false],
    ['<thi', '', '', true],
    ['<this is html', '', '<this is html', false],
    ['plain <think>', '', 'plain <think>', false]
  ])('reads %j', (text, thinking, answer, isThinking) => {
    expect(splitThinking(text)).toEqual({ thinking, answer, isThinking });
  });

  it.each(['[', '<thi'])('holds back nothing of %j at the end', text => {
    expect(splitThinking(text, true).answer).toBe(text);
  });
});

it('finds the code between fences', () => {
  expect(codeBlocks('a\n```python\nx\n\ny\n```\nb\n~~~\nz')).toEqual([
    { language: 'python', code: 'x\n\ny' },
    { language: '', code: 'z' }
  ]);
});

describe('diffLines', () => {
  const apply = (before: string, after: string): string =>
    diffLines(before, after)
      .map(
        ({ kind, text }) =>
          ({ same: ' ', added: '+', removed: '-' })[kind] + text
      )
      .join('\n');

  it('is the shortest edit', () => {
    expect(apply('a\nb\nc\nd', 'a\nc\nx\nd')).toBe(' a\n-b\n c\n+x\n d');
    expect(apply('', 'a')).toBe('-\n+a');
    expect(apply('a\na', 'a')).toBe(' a\n-a');
  });

  it('contains both texts', () => {
    const texts = ['', 'a', 'a\nb', 'b\na\nb', 'x\n\ny\n', '\n\n'];
    for (const before of texts) {
      for (const after of texts) {
        const lines = diffLines(before, after);
        const side = (not: string): string =>
          lines
            .filter(l => l.kind !== not)
            .map(l => l.text)
            .join('\n');
        expect(side('added')).toBe(before);
        expect(side('removed')).toBe(after);
      }
    }
  });

  it('does not hang on two long texts', () => {
    const long = (seed: string): string =>
      Array.from({ length: 5000 }, (_, i) => seed + i).join('\n');
    expect(diffLines(long('a'), long('b')).length).toBe(10_000);
  });
});

describe('suggestions', () => {
  it('are triggered by / at the start and @ before a word', () => {
    expect(triggerAt('/fi', 3)).toEqual({
      kind: '/',
      query: 'fi',
      from: 0,
      to: 3
    });
    expect(triggerAt('see /fi', 7)).toBeNull();
    expect(triggerAt('why @df', 7)).toEqual({
      kind: '@',
      query: 'df',
      from: 4,
      to: 7
    });
    expect(triggerAt('me@home', 7)).toBeNull();
    expect(triggerAt('@a b', 4)).toBeNull();
  });

  it('replace the typed word', () => {
    const trigger = triggerAt('why @d now', 6)!;
    expect(accept('why @d now', trigger, '`df`')).toEqual({
      text: 'why `df` now',
      caret: 8
    });
  });

  it('list prefix matches first', () => {
    const named = (label: string): ISuggestion => ({
      kind: 'variable',
      insert: label,
      label,
      detail: '',
      value: label
    });
    const suggestions = filterSuggestions(
      ['my_df', 'x', 'df2'].map(named),
      'df'
    );
    expect(suggestions.map(s => s.label)).toEqual(['df2', 'my_df']);
  });

  it('separate a command from its text', () => {
    expect(splitCommand('/fix it\nnow')).toEqual({
      name: 'fix',
      rest: 'it\nnow'
    });
    expect(splitCommand('fix')).toBeNull();
    expect(splitCommand('/usr/bin')).toBeNull();
  });
});
