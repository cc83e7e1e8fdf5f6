"""The manual: what `%mistral help` shows and `%%mistral?` prints."""

MANUAL = r"""
Ask the model that this machine hosts; `%mistral status` tells which, and how it is sealed off from the network.

    %mistral why is a list comprehension faster than append?

    %%mistral -f code --out draft
    load sales.csv and plot revenue by month

**Flags** (before the question)

| flag | meaning |
|---|---|
| `-f`, `--format FORMAT` | `markdown` (also `md`), `text`, `code` (a new cell below), `json`, `html`, `math` |
| `-o`, `--out NAME` | keep the reply: `NAME.text`, `NAME.code`, `NAME.json`, `NAME.usage` |
| `-m`, `--model-parameters JSON` | such as `-m '{"temperature": 0.2, "top_p": 0.9}'` |
| `--seed N` `--max-tokens N` `--temperature X` | the same, one by one |
| `--context none\|cell\|above\|notebook` | how much of the notebook the model reads |
| `--thorough` | a notebook larger than the model holds is read in parts, and answered from notes on each |
| `--no-history` | without the last exchanges |
| `--system TEXT` | in place of the standing instruction |
| `--schema JSON` | the JSON schema that `-f json` keeps to, or the name of a variable that holds one; closing the JSON may take up to 512 tokens beyond `--max-tokens` |
| `--see N\|NAME\|FILE` | the figure of prompt N, a figure in a variable, a picture: its numbers, and its pixels if the model can see |
| `--model NAME` | another model, or an alias of one |
| `--` | ends the flags: what follows is the question, whatever its first word |

**In a question** `{name}`, `{In[3]}`, `{Out[3]}` and `{Err[3]}` are filled in. Other braces are left as they are.

**Commands**

| command | what it does |
|---|---|
| `%mistral fix [N]` | correct the last error (or that of prompt N): the corrected cell comes below |
| `%mistral explain [N]` | explain the last error or figure, or what prompt N did or drew (`error`: errors only; `explain fig`, `explain the plot`: a figure) |
| `%mistral read FILE.pdf` | a document as Markdown: for the questions that follow, which cite its pages; `--out NAME` into a variable, `--cell` into a new cell; `--pages 2-5`; `--ocr auto\|on\|off` for scans |
| `%mistral alt [NOTEBOOK]` | alt text for the saved notebook's figures, as a diff; `alt --apply` writes it (`--overwrite`: also over a person's words) |
| `%mistral chat` | the side panel's chats, here below the cell |
| `%mistral status` | the model, its memory, its speed, how it is sealed off |
| `%mistral load [NAME]` | make a model ready, downloading it if need be (`--no-download`: not); `--kv int8` or `int4`: longer notebooks in the same memory; `--adapter NAME` or `none`: a LoRA adapter; `--spill`: layers that do not fit on the GPU stay in host memory |
| `%mistral unload` | give its memory back |
| `%mistral park` · `with jupyter_mistral.lend_gpu():` | lend the GPU to this kernel: the weights wait in host memory |
| `%mistral list` | the models there are, and which fit this machine |
| `%mistral history`, `reset` | show, forget what was said |
| `%mistral alias NAME MODEL`, `update`, `dealias` | short names (also `register`, `delete`) |
| `%mistral version`, `help` | |

Tab completes flags, commands, models and names of figures.

**Settings** `%config MistralMagics` shows them; `%config MistralMagics.context = "above"` changes one.

The kernel's interrupt button stops an answer within a token. A failure raises, so Run All stops there.
"""
