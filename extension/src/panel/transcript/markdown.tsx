/** Renders model text as sanitized Markdown; while text streams in, only the last block is rendered again. */
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

/** The rendered code blocks, and the text that they were rendered from. */
interface IRendered {
  text: string;
  codes: ICode[];
}

/** `renderCode` is shown below each code block. */
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
    const [rendered, setRendered] = useState<IRendered>({
      text: '',
      codes: []
    });
    useEffect(() => {
      painter.current ??= new Painter(
        rendermime.createRenderer('text/markdown'),
        host.current!,
        text =>
          rendermime.createModel({
            data: { 'text/markdown': text },
            trusted: false
          }),
        setRendered
      );
      void painter.current.paint(props.text);
    }, [props.text]);
    // a layout effect: Widget.detach() needs the host in the document, where it still is during this cleanup
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
        {/* no toolbar below an outdated block, whose code may be incomplete */}
        {props.renderCode &&
          rendered.text === props.text &&
          rendered.codes.map((item, i) =>
            createPortal(props.renderCode!(item.code), item.host, String(i))
          )}
      </>
    );
  },
  (a, b) => a.text === b.text && a.renderCode === b.renderCode
);

/** Renders a text that changes faster than it renders: only the newest one is queued. */
class Painter {
  constructor(
    private _renderer: IRenderMime.IRenderer,
    host: HTMLElement,
    private _model: (text: string) => IRenderMime.IMimeModel,
    private _onRendered: (rendered: IRendered) => void
  ) {
    Widget.attach(_renderer, host);
  }

  async paint(text: string): Promise<void> {
    this._newest = text;
    if (this._isPainting) {
      return;
    }
    this._isPainting = true;
    let painted: string | null = null;
    while (painted !== this._newest && !this._renderer.isDisposed) {
      painted = this._newest;
      // unmounts the toolbars before their hosts, which React would look for
      this._onRendered({ text: painted, codes: [] });
      await this._renderer.renderModel(this._model(painted));
      this._finish(painted);
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
    this._onRendered({ text, codes });
  }

  private _newest = '';
  private _isPainting = false;
}
