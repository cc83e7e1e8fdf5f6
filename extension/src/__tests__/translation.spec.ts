import { nullTranslator } from '@jupyterlab/translation';
import { insertCell } from '../notebook/edits';
import { pictureOfFile } from '../context/pictures';
import { Failure } from '../api/protocol';
import { toFailure } from '../api/request';
import { setTranslator } from '../translation';

afterEach(() => {
  setTranslator(null);
});

it('translates failures', () => {
  const trans = nullTranslator.load('');
  setTranslator({
    ...nullTranslator,
    languageCode: 'x',
    load: () => ({ ...trans, __: text => `<${text}>` })
  });
  let caught: unknown = null;
  try {
    insertCell(null, 'x', 'below', 'm');
  } catch (error) {
    caught = error;
  }
  expect((caught as Failure).sentence).toBe(
    '<No notebook is open.> <Open a notebook and try again.>'
  );
  expect(toFailure('odd').todo).toBe('<Try again.>');
});

it('fills in the names in a sentence', async () => {
  const file = new File(['x'], 'a.tiff', { type: 'image/tiff' });
  await expect(pictureOfFile(file)).rejects.toThrow(
    'a.tiff is not a PNG, JPEG, WebP, GIF or SVG image.'
  );
  expect(() => insertCell(null, 'x', 'below', 'm')).toThrow(
    'No notebook is open.'
  );
});
