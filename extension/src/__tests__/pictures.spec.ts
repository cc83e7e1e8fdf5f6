import { drawingUrl, pictureOfFile, pictureOfUrl } from '../context/pictures';
import { isShowable } from '../text/sanitize';

const SVG =
  '<svg xmlns="http://www.w3.org/2000/svg"><text>Größe µ</text></svg>';

describe('an SVG', () => {
  it('is sent as is and never drawn by the page', async () => {
    const file = new File([SVG], 'plot.svg', { type: 'image/svg+xml' });
    const picture = await pictureOfFile(file);
    expect(picture).toEqual({
      url: drawingUrl(SVG),
      width: 0,
      height: 0,
      name: 'plot.svg'
    });
    // the prefix that the server expects
    expect(picture.url).toMatch(
      /^data:image\/svg\+xml;base64,[A-Za-z0-9+/=]+$/
    );
    const text = Buffer.from(picture.url.split(',')[1], 'base64').toString();
    expect(text).toBe(SVG);
  });

  it('is never a thumbnail; bitmaps are', () => {
    expect(isShowable(drawingUrl(SVG))).toBe(false);
    expect(isShowable('data:image/png;base64,AA==')).toBe(true);
    expect(isShowable('https://evil.example/x.png')).toBe(false);
  });

  it('is rejected if it is not an SVG, as are other file types', async () => {
    await expect(
      pictureOfUrl(drawingUrl('<html></html>'), 'a.svg')
    ).rejects.toThrow('a.svg is damaged or is not an image.');
    await expect(
      pictureOfUrl('data:image/svg+xml;base64,*', 'a.svg')
    ).rejects.toThrow('damaged');
    await expect(
      pictureOfFile(new File(['x'], 'a.tiff', { type: 'image/tiff' }))
    ).rejects.toThrow('a.tiff is not a PNG, JPEG, WebP, GIF or SVG image.');
    await expect(
      pictureOfUrl('https://evil.example/x.svg', 'x.svg')
    ).rejects.toThrow('never loaded');
  });
});
