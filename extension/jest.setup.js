// what browsers have and jsdom lacks
const { ReadableStream } = require('node:stream/web');
const { TextDecoder, TextEncoder } = require('node:util');

Object.assign(globalThis, { ReadableStream, TextDecoder, TextEncoder });
