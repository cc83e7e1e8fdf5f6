/** The words of what knows no services: `trans` is English until the core plugin has named the user's translator. */
import {
  ITranslator,
  nullTranslator,
  TranslationBundle
} from '@jupyterlab/translation';

const DOMAIN = 'jupyter_mistral';

export let trans: TranslationBundle = nullTranslator.load(DOMAIN);

/** Speak the user's language from now on. */
export function setTranslator(
  translator: ITranslator | null
): TranslationBundle {
  return (trans = (translator ?? nullTranslator).load(DOMAIN));
}
