import js from '@eslint/js';
import jupyter from '@jupyter/eslint-plugin';
import prettier from 'eslint-plugin-prettier/recommended';
import { defineConfig } from 'eslint/config';
import globals from 'globals';
import tseslint from 'typescript-eslint';

export default defineConfig([
  {
    ignores: [
      'node_modules',
      'lib',
      'src/api/schema.d.ts',
      'coverage',
      '**/*.js',
      '**/*.d.ts',
      '.yarn'
    ]
  },
  js.configs.recommended,
  tseslint.configs.recommended,
  // the recommended config does not register the plugin itself
  { plugins: { jupyter } },
  jupyter.configs.recommended,
  {
    files: ['**/*.ts', '**/*.tsx'],
    languageOptions: {
      globals: { ...globals.browser },
      parserOptions: { project: 'tsconfig.test.json', sourceType: 'module' }
    },
    rules: {
      '@typescript-eslint/naming-convention': [
        'error',
        {
          selector: 'interface',
          format: ['PascalCase'],
          custom: { regex: '^I[A-Z]', match: true }
        }
      ],
      '@typescript-eslint/no-unused-vars': ['error', { args: 'none' }],
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-namespace': 'off',
      curly: ['error', 'all'],
      eqeqeq: 'error',
      'prefer-arrow-callback': 'error',
      // the whole extension is smaller than one of JupyterLab's lazy chunks
      'jupyter/prefer-lazy-imports': 'off',
      // only request.ts accesses the network
      'no-restricted-globals': [
        'error',
        'fetch',
        'XMLHttpRequest',
        'EventSource',
        'WebSocket'
      ],
      'no-restricted-properties': [
        'error',
        { object: 'window', property: 'fetch' }
      ],
      'no-restricted-syntax': [
        'error',
        {
          selector:
            'NewExpression[callee.name="Failure"] > :matches(Literal[value=/./], TemplateLiteral):not(:first-child)',
          message: 'Users read failures: translate the message.'
        }
      ]
    }
  },
  {
    files: ['**/__tests__/**'],
    rules: {
      'jupyter/no-untranslated-string': 'off',
      'no-restricted-syntax': 'off',
      'jupyter/require-disposable-ownership': 'off'
    }
  },
  prettier
]);
