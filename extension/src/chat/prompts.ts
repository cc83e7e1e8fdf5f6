/** The built-in tasks: the questions behind `/explain` and the cell buttons. Data only. */
import { TranslationBundle } from '@jupyterlab/translation';

export type TaskName = 'explain' | 'fix' | 'doc' | 'test' | 'refactor' | 'plot';

export interface ITask {
  name: TaskName;
  help: string;
  label: string;
  /** The answer's code replaces the cell: it is offered as a change. */
  isEdit: boolean;
  prompt: (cell: string) => string;
  /** How the answer should be formatted; shown in small print under the question. */
  format: string;
}

/** Returns the tasks; their `prompt` takes the cell's name, such as `[cell 3]`. */
export function tasks(trans: TranslationBundle): ITask[] {
  return [
    {
      name: 'explain',
      label: trans.__('Explain'),
      help: trans.__('Explain the active cell or the selection'),
      isEdit: false,
      prompt: cell => trans.__('Explain %1.', cell),
      format: trans.__('Step by step, and briefly.')
    },
    {
      name: 'fix',
      label: trans.__('Fix'),
      help: trans.__('Fix the error of the active cell, or the last error'),
      isEdit: true,
      prompt: cell => trans.__('Fix the error in %1.', cell),
      format: trans.__(
        'Give the whole corrected cell as one code block, then say in one sentence what was wrong.'
      )
    },
    {
      name: 'doc',
      label: trans.__('Document'),
      help: trans.__('Add docstrings and comments to the active cell'),
      isEdit: true,
      prompt: cell => trans.__('Document %1.', cell),
      format: trans.__(
        'Give the whole cell as one code block, with docstrings and short comments that say why; change nothing else.'
      )
    },
    {
      name: 'test',
      label: trans.__('Test'),
      help: trans.__('Write tests for the active cell'),
      isEdit: false,
      prompt: cell => trans.__('Test %1.', cell),
      format: trans.__('Give a few short asserts as one code block.')
    },
    {
      name: 'refactor',
      label: trans.__('Refactor'),
      help: trans.__(
        'Make the active cell clearer without changing what it does'
      ),
      isEdit: true,
      prompt: cell => trans.__('Refactor %1.', cell),
      format: trans.__(
        'Give the whole cell as one code block, clearer and shorter, with the same results.'
      )
    },
    {
      name: 'plot',
      label: trans.__('Explain plot'),
      help: trans.__('Explain the plot of the active cell'),
      isEdit: false,
      prompt: cell => trans.__('Explain the plot of %1.', cell),
      format: trans.__(
        'What it shows, what stands out, and what could mislead.'
      )
    }
  ];
}
