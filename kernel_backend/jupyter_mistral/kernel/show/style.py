"""The style sheet of answers in a notebook, in the front end's own colours, light and dark."""

from __future__ import annotations

# The doubled class overrides the front end's own rules for the same elements.
# Colours that a theme does not define fall back to tones that are readable on white and on black.
STYLE = """<style>
.jmi{max-width:60em;line-height:1.55}
.jmi-body>:first-child{margin-top:0}.jmi-body>:last-child{margin-bottom:0}
.jmi.jmi p,.jmi.jmi ul,.jmi.jmi ol,.jmi.jmi blockquote,.jmi.jmi table{margin:.55em 0}
.jmi.jmi h1,.jmi.jmi h2,.jmi.jmi h3,.jmi.jmi h4,.jmi.jmi h5,.jmi.jmi h6{font-size:1.08em;font-weight:600;line-height:1.35;margin:1em 0 .4em}
.jmi.jmi h1{font-size:1.25em}.jmi.jmi h2{font-size:1.16em}
.jmi.jmi pre{background:var(--jp-cell-editor-background,rgba(128,128,128,.11));border-radius:4px;padding:.6em .8em;margin:.6em 0;overflow-x:auto;line-height:1.45;text-align:start;unicode-bidi:isolate}
.jmi.jmi code{font-family:var(--jp-code-font-family,ui-monospace,Menlo,Consolas,monospace);font-size:.93em;unicode-bidi:isolate}
.jmi.jmi pre code{background:none;padding:0;white-space:pre}
.jmi.jmi :not(pre)>code{background:var(--jp-layout-color2,rgba(128,128,128,.11));padding:.08em .32em;border-radius:3px}
.jmi.jmi .k{color:var(--jp-mirror-editor-keyword-color,#2a8f3f);font-weight:600}.jmi.jmi .s{color:var(--jp-mirror-editor-string-color,#c4524e)}
.jmi.jmi .n{color:var(--jp-mirror-editor-number-color,#2a8f3f)}.jmi.jmi .c{color:var(--jp-mirror-editor-comment-color,#5f8f8f);font-style:italic}
.jmi.jmi .f{color:var(--jp-mirror-editor-def-color,#4078d8)}.jmi.jmi .b{color:var(--jp-mirror-editor-builtin-color,#2a8f3f)}
.jmi.jmi .d{color:var(--jp-mirror-editor-meta-color,#9a6bd1)}
.jmi.jmi blockquote{border-inline-start:3px solid var(--jp-border-color1,rgba(128,128,128,.4));margin-inline:0;padding-inline-start:.9em;color:inherit;opacity:.85}
.jmi.jmi table{border-collapse:collapse;font-size:.95em}
.jmi.jmi th,.jmi.jmi td{padding:.25em .7em;border:0;border-bottom:1px solid var(--jp-border-color2,rgba(128,128,128,.3))}
.jmi.jmi :is(th,td):not([style]){text-align:start}
.jmi.jmi tr{background:none}.jmi.jmi th{font-weight:600}.jmi.jmi tr:last-child td{border-bottom:0}.jmi.jmi th:empty{padding:0;border:0}
.jmi-foot{margin-top:.7em;font-size:.82em;line-height:1.4;color:var(--jp-ui-font-color2,#808080)}
.jmi-foot b{font-weight:600}.jmi-foot i{font-style:normal;opacity:.55;padding:0 .4em}
.jmi-warn{color:var(--jp-warn-color0,#b7791f)}
.jmi-bar{display:inline-block;vertical-align:middle;width:11em;height:4px;border-radius:2px;margin-inline:.2em .6em;background:var(--jp-layout-color3,rgba(128,128,128,.3));overflow:hidden}
.jmi-bar span{display:block;height:100%;background:var(--jp-brand-color1,#fa520f)}
.jmi-live::before{content:"";display:inline-block;width:.5em;height:.5em;border-radius:50%;margin-inline-end:.55em;background:var(--jp-brand-color1,#fa520f);animation:jmi-pulse 1.2s ease-in-out infinite}
@keyframes jmi-pulse{50%{opacity:.25}}
@media (prefers-reduced-motion:reduce){.jmi-live::before{animation:none}}
.jmi.jmi details{margin:.6em 0}.jmi.jmi summary{cursor:pointer;font-size:.9em;color:var(--jp-ui-font-color2,#808080)}
.jmi.jmi iframe{width:100%;height:24em;border:1px solid var(--jp-border-color2,rgba(128,128,128,.3));border-radius:4px;background:#fff;resize:vertical}
</style>"""


def frame(body: str, foot: str = "", is_live: bool = False) -> str:
    """Build the HTML of one output. The front end typesets only the TeX that `markdown.to_math` allowed."""
    mark = " jmi-live" if is_live else ""
    below = f'<div class="jmi-foot{mark}">{foot}</div>' if foot else ""
    above = f'<div class="jmi-body">{body}</div>' if body else ""
    return f'{STYLE}<div class="jmi mathjax_ignore tex2jax_ignore">{above}{below}</div>'
