const base = require('@jupyterlab/testing/lib/jest-config');

// packages published as ES modules only: jest must transform them
const esm = [
  '@codemirror',
  '@jupyter/',
  '@jupyterlab/',
  '@lezer',
  '@marijn',
  '@microsoft',
  '@rjsf',
  'exenv-es6',
  'lib0',
  'nanoid',
  'vscode-ws-jsonrpc',
  'y-protocols',
  'y-websocket',
  'yjs'
].join('|');

const lab = base(__dirname);

module.exports = {
  ...lab,
  collectCoverage: false,
  reporters: ['default'],
  setupFiles: [...(lab.setupFiles ?? []), '<rootDir>/jest.setup.js'],
  setupFilesAfterEnv: [],
  testRegex: 'src/.*\\.spec\\.tsx?$',
  transformIgnorePatterns: [`/node_modules/(?!${esm}).+`]
};
