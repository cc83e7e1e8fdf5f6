/** The translator for code without services. `trans` is English until the core plugin sets the user's translator. */
import {
  ITranslator,
  nullTranslator,
  TranslationBundle
} from '@jupyterlab/translation';

const DOMAIN = 'jupyter_mistral';

export let trans: TranslationBundle = nullTranslator.load(DOMAIN);

/** Uses the user's language from now on. */
export function setTranslator(
  translator: ITranslator | null
): TranslationBundle {
  return (trans = (translator ?? nullTranslator).load(DOMAIN));
}
