import { cleanHtml, withoutDiagrams } from '../text/sanitize';

// must not load, run or act, whatever JupyterLab's own sanitizer does
const HOSTILE = [
  '<img src="https://evil.example/x.png">',
  '<img src="//evil.example/x.png">',
  '<img src="HTTPS://evil.example/x">',
  '<img src=" https://evil.example/x">',
  '<img src="data:image/svg+xml;base64,AAAA">',
  '<img srcset="https://evil.example/x 1x" src="data:image/png;base64,AAAA">',
  '<img src=x onerror="alert(1)">',
  '<picture><source srcset="https://evil.example/x"><img src="y"></picture>',
  '<video poster="https://evil.example/x" src="https://evil.example/y"></video>',
  '<audio src="https://evil.example/y"></audio>',
  '<iframe src="https://evil.example"></iframe>',
  '<object data="https://evil.example"></object><embed src="https://evil.example">',
  '<link rel="stylesheet" href="https://evil.example/x.css">',
  '<style>body{background:url(https://evil.example)}</style>',
  '<p style="background:url(https://evil.example)">x</p>',
  '<p style="position:fixed;inset:0">x</p>',
  '<svg><image href="https://evil.example/x"/><a href="javascript:alert(1)">x</a></svg>',
  '<math><mtext><img src="https://evil.example"></mtext></math>',
  '<form action="https://evil.example"><input name="token"><button>go</button></form>',
  '<a href="javascript:alert(1)">x</a>',
  '<a href="data:text/html,<script>alert(1)</script>">x</a>',
  '<a href="/lab/api/settings" ping="https://evil.example">x</a>',
  '<a href="https://evil.example" target="_top" onclick="alert(1)">x</a>',
  '<button data-commandlinker-command="terminal:create-new">x</button>',
  '<p data-commandlinker-command="x" data-commandlinker-args="{}">x</p>',
  '<p id="jp-main-dock-panel" name="body" class="lm-Widget jp-Dialog">x</p>',
  '<base href="https://evil.example"><meta http-equiv="refresh" content="0;url=https://evil.example">',
  '<script>alert(1)</script><noscript><img src="https://evil.example"></noscript>',
  '<template><img src="https://evil.example"></template>',
  '<body background="https://evil.example"><table background="https://evil.example"><tr><td background="https://evil.example">x</td></tr></table>',
  '<button data-cell="3">x</button><p data-cell="3">x</p>',
  '<details ontoggle="alert(1)" open><summary>x</summary></details>'
];

describe('cleanHtml', () => {
  it.each(HOSTILE)('makes %s harmless', html => {
    const host = document.createElement('template');
    host.innerHTML = cleanHtml(html);
    for (const node of Array.from(host.content.querySelectorAll('*'))) {
      expect(node.localName).not.toMatch(
        /^(script|style|iframe|object|embed|link|base|meta|form|input|button|video|audio|source|picture|svg|math|template)$/
      );
      for (const { name, value } of Array.from(node.attributes)) {
        expect(name).not.toMatch(
          /^(on|style$|href$|srcset$|poster$|ping$|background$|target$|id$|name$|data-c)/
        );
        if (name === 'src') {
          expect(value).toMatch(/^data:image\/(png|jpeg|gif|webp);/);
        }
        if (name === 'class') {
          expect(value).not.toMatch(/jp-|lm-/);
        }
      }
    }
  });

  it('keeps the markup of an answer', () => {
    const html =
      '<h1>t</h1><p>a <strong>b</strong> <code>c</code></p><ol start="3"><li>d</li></ol>' +
      '<table><thead><tr><th>e</th></tr></thead></table><pre><code class="language-python"><span class="tok-keyword">if</span></code></pre>' +
      '<img src="data:image/png;base64,iVBORw0KGgo=" alt="p">';
    expect(cleanHtml(html)).toBe(html);
  });

  it('keeps the address of a link for the dialog', () => {
    expect(cleanHtml('<a href="https://example.org/a">x</a>')).toBe(
      '<a data-href="https://example.org/a" role="link" tabindex="0" title="https://example.org/a">x</a>'
    );
  });
});

it('leaves diagrams as source', () => {
  expect(
    withoutDiagrams('```mermaid\ngraph\n```\n> ~~~ Mermaid\n`mermaid`')
  ).toBe('```text\ngraph\n```\n> ~~~ text\n`mermaid`');
});
