import { Context } from '../context/context';
import { about, count } from '../panel/format';
import { ScriptedServer } from './scripted';

describe('the context of a question', () => {
  const picture = {
    url: 'data:image/png;base64,AA==',
    width: 1,
    height: 1,
    name: 'p'
  };

  it('sends each attachment as a part of its own and clears them afterwards', () => {
    const context = new Context(new ScriptedServer(() => null), null);
    context.attached.addFile('folder/a.csv', 'x,y');
    context.attached.addPicture(picture);
    context.instructions = ' Answer in French. ';
    expect(context.extras().instructions).toBe('Answer in French.');
    expect(context.content('Why?', 'Briefly.')).toEqual([
      'Why?',
      '\n\nThe file folder/a.csv:\n```\nx,y\n```',
      '\n\nBriefly.',
      { image_url: picture.url }
    ]);
    context.clear();
    expect(context.content('Why?')).toEqual(['Why?']);
    context.instructions = '';
    expect(context.extras()).toEqual({ client: 'panel', scope: 'none' });
  });

  it('rejects binary files, long files and too many images', () => {
    const context = new Context(new ScriptedServer(() => null), null);
    expect(() => context.attached.addFile('a.bin', 'a\u0000b')).toThrow(
      'not a text file'
    );
    expect(() =>
      context.attached.addFile('a.txt', 'a'.repeat(300_000))
    ).toThrow('300,000');
    for (let i = 0; i < 8; i++) {
      context.attached.addPicture(picture);
    }
    expect(() => context.attached.addPicture(picture)).toThrow('8 images');
  });

  it('counts the tokens of each part', async () => {
    const context = new Context(
      new ScriptedServer(() => ({
        tokens: 30,
        context_length: 100,
        ledger: [
          { segment: 'question', tokens: 4 },
          { segment: 'question', tokens: 9 }
        ],
        left_out: []
      })),
      null
    );
    context.attached.addFile('a.csv', 'x,y');
    await context.count('Why?', []);
    expect(context.ledger?.total).toBe(30);
    expect(context.chips().map(chip => chip.tokens)).toEqual([9]);
    expect(context.ledger?.isExact).toBe(true);
  });

  it('counts images for a model with vision, and earlier messages as a chat sends them', async () => {
    const scripted = new ScriptedServer(() => ({
      tokens: 90,
      context_length: 100,
      ledger: [
        { segment: 'image', tokens: 7 },
        { segment: 'question', tokens: 1 },
        { segment: 'question', tokens: 4 },
        { segment: 'question', tokens: 9 },
        { segment: 'image', tokens: 20 },
        { segment: 'image', tokens: 30, cell: 2 }
      ],
      left_out: []
    }));
    const context = new Context(scripted, null);
    context.attached.addFile('a.csv', 'x,y');
    context.attached.addPicture(picture);
    const message = { id: 'u', state: 'done', created: 1 };
    const before = [
      { ...message, role: 'user', content: ['Seen?', { image_url: 'data:1' }] },
      { ...message, role: 'assistant', content: [] }
    ] as never[];
    await context.count('Why?', before, true, { max_tokens: 9 });
    const part = (url: string): object => ({
      type: 'image_url',
      image_url: { url }
    });
    const text = 'The file a.csv:\n```\nx,y\n```';
    expect(scripted.sent[0].body).toMatchObject({
      max_tokens: 9,
      messages: [
        {
          role: 'user',
          content: [{ type: 'text', text: 'Seen?' }, part('data:1')]
        },
        {
          role: 'user',
          content: [
            { type: 'text', text: 'Why?' },
            { type: 'text', text: `\n\n${text}` },
            part(picture.url)
          ]
        }
      ]
    });
    expect(context.chips().map(chip => chip.tokens)).toEqual([9, 20]);
    // above the limit, the oldest images become text
    for (let i = 0; i < 7; i++) {
      context.attached.addPicture(picture);
    }
    await context.count('Why?', before, true);
    expect(JSON.stringify(scripted.sent[1].body)).toContain(
      'an earlier picture'
    );
    await context.count('Why?', before);
    expect(JSON.stringify(scripted.sent[2].body)).not.toContain('image');
    expect(context.chips()[1].tokens).toBeNull();
  });

  it('marks estimated counts', async () => {
    const counted = { tokens: 3, ledger: [], counted: 'estimated' };
    const context = new Context(new ScriptedServer(() => counted), null);
    await context.count('Why?', []);
    expect(context.ledger?.isExact).toBe(false);
    expect(about(false) + count(1234)).toBe('≈1,234');
    expect(about(true)).toBe('');
  });
});
