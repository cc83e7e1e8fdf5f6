"""The manual: what `%mistral help` displays and `%%mistral?` prints."""

MANUAL = r"""
Ask the model that runs on this machine. `%mistral status` shows which model it is and whether its network access is blocked.

    %mistral why is a list comprehension faster than append?

    %%mistral -f code --out draft
    load sales.csv and plot revenue by month

**Flags** (before the question)

| flag | meaning |
|---|---|
| `-f`, `--format FORMAT` | format of the answer: `markdown` (or `md`), `text`, `code` (a new cell below), `json`, `html`, `math` |
| `-o`, `--out NAME` | store the reply in a variable: `NAME.text`, `NAME.code`, `NAME.json`, `NAME.usage` |
| `-m`, `--model-parameters JSON` | sampling parameters, such as `-m '{"temperature": 0.2, "top_p": 0.9}'` |
| `--seed N` `--max-tokens N` `--temperature X` | the same parameters, one by one |
| `--context none\|cell\|above\|notebook` | how much of the notebook to send |
| `--thorough` | read a notebook that exceeds the model's context in parts, and answer from notes on each part |
| `--no-history` | do not send the previous exchanges |
| `--system TEXT` | replace the system prompt |
| `--schema JSON` | JSON schema for `-f json`, or the name of a variable that contains one; completing the JSON may take up to 512 tokens more than `--max-tokens` |
| `--see N\|NAME\|FILE` | send a figure (of prompt N, or in a variable) or an image file: its numbers, and the image itself if the model has vision |
| `--model NAME` | use another model, by name or alias |
| `--` | end of the flags: the rest is the question, even if it starts with a command's name |

**In a question** `{name}`, `{In[3]}`, `{Out[3]}` and `{Err[3]}` are replaced with their values. Other braces stay as they are.

**Commands**

| command | what it does |
|---|---|
| `%mistral fix [N]` | correct the last error (or the error of prompt N); the corrected cell appears below |
| `%mistral explain [N]` | explain the last error or figure, or the code or figure of prompt N; `explain fig` or `explain the plot` explains a figure |
| `%mistral read FILE.pdf` | convert a document to Markdown and send it with later questions, whose answers cite its pages; `--out NAME` stores it in a variable, `--cell` in a new cell; `--pages 2-5`; `--ocr auto\|on\|off` for scans |
| `%mistral alt [NOTEBOOK]` | generate alt text for the figures of the saved notebook, as a diff; `alt --apply` writes it (`--overwrite`: replace hand-written text too) |
| `%mistral chat` | open the side panel's chats below the cell |
| `%mistral status` | show the model, its memory use, speed and network access |
| `%mistral load [NAME]` | load a model, downloading it if needed (`--no-download` prevents that); `--kv int8` or `int4`: longer notebooks in the same memory; `--adapter NAME` or `none`: a LoRA adapter; `--spill`: keep layers that do not fit on the GPU in host memory |
| `%mistral unload` | unload the model and free its memory |
| `%mistral park` · `with jupyter_mistral.lend_gpu():` | release the GPU for this kernel; the weights wait in host memory |
| `%mistral list` | list the models and whether they fit this machine |
| `%mistral history`, `reset` | show or clear the previous exchanges and documents |
| `%mistral alias NAME MODEL`, `dealias` | add or remove a short name for a model |
| `%mistral version`, `help` | |

Press Tab to complete flags, commands, models and figure names.

**Settings** `%config MistralMagics` lists them; `%config MistralMagics.context = "above"` changes one.

The kernel's interrupt button stops an answer within one token. Errors are raised, so Run All stops there.
"""
