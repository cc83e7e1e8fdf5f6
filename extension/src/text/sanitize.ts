/**
 * Sanitizes model text, which is untrusted. After JupyterLab's sanitizer, only the markup of an answer remains: no
 * remote addresses, no styles that could cover the page, no ids, none of JupyterLab's own hooks.
 */
import { IRenderMime, IRenderMimeRegistry } from '@jupyterlab/rendermime';

const TAGS = new Set(
  (
    'a abbr b blockquote br caption center code col colgroup dd del details div dl dt em h1 h2 h3 h4 h5 h6 hr i img ' +
    'ins kbd li mark ol p pre q s samp small span strong sub summary sup table tbody td tfoot th thead tr u ul var'
  ).split(' ')
);
/** Attributes without addresses or behaviour. Only the highlighter's classes are kept. */
const ATTRIBUTES = new Set([
  'align',
  'alt',
  'colspan',
  'dir',
  'height',
  'lang',
  'open',
  'rowspan',
  'scope',
  'start',
  'title',
  'type',
  'width'
]);
const DATA_IMAGE = /^data:image\/(png|jpeg|gif|webp);base64,[a-z0-9+/=\s]*$/i;
const PICTURE = /^data:image\/(png|jpeg|gif|webp);base64,/i;
const LINK = /^(https?:\/\/|mailto:)/i;
const HIGHLIGHT = /^(cm-[\w-]+|ͼ[\w]+|tok-[\w-]+|language-[\w+#.-]+)$/u;

/** Returns HTML that loads and runs nothing; links are inert, with their target in `data-href`. */
export function cleanHtml(html: string): string {
  // the content of a template is inert: nothing loads while it is cleaned
  const template = document.createElement('template');
  template.innerHTML = html;
  cleanNode(template.content);
  return template.innerHTML;
}

function cleanNode(root: DocumentFragment | Element): void {
  for (const node of Array.from(root.childNodes)) {
    if (node.nodeType === Node.TEXT_NODE) {
      continue;
    }
    if (!(node instanceof Element) || node.namespaceURI !== HTML_NAMESPACE) {
      node.remove();
      continue;
    }
    cleanElement(node);
  }
}

const HTML_NAMESPACE = 'http://www.w3.org/1999/xhtml';

function cleanElement(node: Element): void {
  const tag = node.localName;
  if (!TAGS.has(tag)) {
    // the content of scripts and styles is not text to read
    if (
      /^(script|style|template|iframe|object|noscript|textarea|title)$/.test(
        tag
      )
    ) {
      node.remove();
      return;
    }
    cleanNode(node);
    node.replaceWith(...Array.from(node.childNodes));
    return;
  }
  const href = node.getAttribute('href')?.trim() ?? '';
  const source = node.getAttribute('src') ?? '';
  if (tag === 'img' && !DATA_IMAGE.test(source)) {
    node.replaceWith(node.getAttribute('alt') ?? '');
    return;
  }
  for (const { name, value } of Array.from(node.attributes)) {
    if (name === 'class') {
      const kept = value.split(/\s+/).filter(word => HIGHLIGHT.test(word));
      node.setAttribute('class', kept.join(' '));
    } else if (!(name === 'src' && tag === 'img') && !ATTRIBUTES.has(name)) {
      node.removeAttribute(name);
    }
  }
  if (tag === 'a' && LINK.test(href)) {
    node.setAttribute('data-href', href);
    node.setAttribute('role', 'link');
    node.setAttribute('tabindex', '0');
    node.setAttribute('title', href);
  }
  cleanNode(node);
}

/** Whether an image may be shown as a thumbnail: bitmaps only, as in answers; never an SVG. */
export function isShowable(url: string): boolean {
  return PICTURE.test(url);
}

class AnswerSanitizer implements IRenderMime.ISanitizer {
  constructor(private _inner: IRenderMime.ISanitizer) {}

  sanitize(dirty: string, options?: IRenderMime.ISanitizerOptions): string {
    return cleanHtml(this._inner.sanitize(dirty, options));
  }

  readonly allowNamedProperties = false;
  readonly allowCommandLinker = false;

  /** Addresses in an answer are not linked automatically. */
  getAutolink(): boolean {
    return false;
  }
}

/** Keeps Mermaid diagrams as source: their renderer would be another attack surface. */
export function withoutDiagrams(markdown: string): string {
  return markdown.replace(/((?:`{3,}|~{3,})[ \t]*)mermaid\b/gi, '$1text');
}

// same names as in kernel/show/markdown.py: links, styles, ids, boxes of any size, and definitions that outlive the answer
const UNSAFE_TEX = new RegExp(
  '\\\\(' +
    [
      'href|url|require|unicode|class|style|css[A-Za-z]*|id|data|html[A-Za-z]*|include[A-Za-z]*|input|mmlToken',
      'mathtip|texttip|tooltip|toggle|bbox|def|gdef|edef|xdef|let|futurelet|(?:re)?newcommand|providecommand',
      '(?:re)?newenvironment|DeclareMathOperator|DeclarePairedDelimiters?X?[A-Za-z]*|newtagform|renewtagform',
      'usetagform|mathtoolsset|setoptions|csname|catcode|expandafter|rule|Rule|Space|[hv]?kern|mkern|mskip',
      '[hv]skip|[hv]space|mspace|raise|lower|move(?:left|right)|label'
    ].join('|') +
    ')(?![A-Za-z])',
  'g'
);

/** Disables TeX macros that link, style, load or define other macros. */
function defangTex(host: HTMLElement): void {
  const walker = document.createTreeWalker(host, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const text = node.nodeValue ?? '';
    UNSAFE_TEX.lastIndex = 0;
    if (UNSAFE_TEX.test(text) && !node.parentElement?.closest('pre, code')) {
      node.nodeValue = text.replace(UNSAFE_TEX, '\\text{$1}');
    }
  }
}

/** Returns a registry for model text: strict sanitizer, no automatic links, no diagrams, plain TeX. */
export function answerRendermime(
  rendermime: IRenderMimeRegistry
): IRenderMimeRegistry {
  const parser = rendermime.markdownParser;
  const typesetter = rendermime.latexTypesetter;
  return rendermime.clone({
    sanitizer: new AnswerSanitizer(rendermime.sanitizer),
    markdownParser: parser
      ? { render: source => parser.render(withoutDiagrams(source)) }
      : undefined,
    latexTypesetter: typesetter
      ? {
          typeset: host => {
            defangTex(host);
            return typesetter.typeset(host);
          }
        }
      : undefined
  });
}
