/** Model text as sanitized Markdown, block by block: only the last block is drawn again while text streams in. */
import { IRenderMime } from '@jupyterlab/rendermime';
import { Widget } from '@lumino/widgets';
import React, { useEffect, useLayoutEffect, useRef, useState } from 'react';
import { createPortal } from 'react-dom';
import { splitBlocks } from '../../text/blocks';
import { linkCells } from './links';
import { useServices } from '../services';

const BLOCKS = 'p,li,h1,h2,h3,h4,h5,h6,td,th,blockquote,dt,dd,summary';

interface ICode {
  host: HTMLElement;
  code: string;
}

/** The code blocks on the page, and the text that they were drawn from. */
interface IDrawn {
  text: string;
  codes: ICode[];
}

/** `renderCode` is put under each code block. */
export function Markdown(props: {
  text: string;
  renderCode: ((code: string) => JSX.Element) | null;
}): JSX.Element {
  return (
    <>
      {splitBlocks(props.text).map((block, i) => (
        <Block key={i} text={block} renderCode={props.renderCode} />
      ))}
    </>
  );
}

const Block = React.memo(
  function Block(props: {
    text: string;
    renderCode: ((code: string) => JSX.Element) | null;
  }): JSX.Element {
    const { rendermime } = useServices();
    const host = useRef<HTMLDivElement>(null);
    const painter = useRef<Painter | null>(null);
    const [drawn, setDrawn] = useState<IDrawn>({ text: '', codes: [] });
    useEffect(() => {
      painter.current ??= new Painter(
        rendermime.createRenderer('text/markdown'),
        host.current!,
        text =>
          rendermime.createModel({
            data: { 'text/markdown': text },
            trusted: false
          }),
        setDrawn
      );
      void painter.current.paint(props.text);
    }, [props.text]);
    // a layout effect: its cleanup runs while the host is still in the document, as Widget.detach() needs
    useLayoutEffect(
      () => () => {
        painter.current?.dispose();
        painter.current = null;
      },
      []
    );
    return (
      <>
        <div ref={host} className="jp-MistralMarkdown" dir="auto" />
        {/* no bar under a block that is older than the text: its code may be half of what it became */}
        {props.renderCode &&
          drawn.text === props.text &&
          drawn.codes.map((item, i) =>
            createPortal(props.renderCode!(item.code), item.host, String(i))
          )}
      </>
    );
  },
  (a, b) => a.text === b.text && a.renderCode === b.renderCode
);

/** Draws a text that changes faster than it can be drawn: only the newest one waits. */
class Painter {
  constructor(
    private _renderer: IRenderMime.IRenderer,
    host: HTMLElement,
    private _model: (text: string) => IRenderMime.IMimeModel,
    private _onDrawn: (drawn: IDrawn) => void
  ) {
    Widget.attach(_renderer, host);
  }

  async paint(text: string): Promise<void> {
    this._wanted = text;
    if (this._isPainting) {
      return;
    }
    this._isPainting = true;
    let drawn: string | null = null;
    while (drawn !== this._wanted && !this._renderer.isDisposed) {
      drawn = this._wanted;
      // the bars leave before their hosts do: React must not look for what is gone
      this._onDrawn({ text: drawn, codes: [] });
      await this._renderer.renderModel(this._model(drawn));
      this._finish(drawn);
    }
    this._isPainting = false;
  }

  dispose(): void {
    if (!this._renderer.isDisposed) {
      this._renderer.dispose();
    }
  }

  private _finish(text: string): void {
    const node = this._renderer.node;
    for (const block of Array.from(node.querySelectorAll(BLOCKS))) {
      block.setAttribute('dir', 'auto');
    }
    for (const table of Array.from(node.querySelectorAll('table'))) {
      const scroller = document.createElement('div');
      scroller.className = 'jp-MistralTable';
      scroller.tabIndex = 0;
      table.replaceWith(scroller);
      scroller.append(table);
    }
    linkCells(node);
    const codes = Array.from(node.querySelectorAll('pre')).map(pre => {
      const host = document.createElement('div');
      host.className = 'jp-MistralCodeHost';
      pre.after(host);
      pre.tabIndex = 0;
      return { host, code: pre.textContent ?? '' };
    });
    this._onDrawn({ text, codes });
  }

  private _wanted = '';
  private _isPainting = false;
}
