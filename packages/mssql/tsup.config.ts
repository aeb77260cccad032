import { defineConfig } from 'tsup'

export default defineConfig({
  // The child process is a program of its own: dist/child/main.js, and main.cjs for CommonJS.
  entry: { index: 'src/index.ts', 'child/main': 'src/child/main.ts' },
  format: ['esm', 'cjs'],
  dts: { entry: { index: 'src/index.ts' } },
  target: 'node22',
  clean: true,
  // CommonJS has no import.meta.url. Not `shims: true`: its URL is wrong below a folder like `C#` or `100%`.
  banner: ({ format }) =>
    format === 'cjs' ? { js: "const importMetaUrl = require('node:url').pathToFileURL(__filename).href;" } : {},
  esbuildOptions(options, { format }) {
    if (format === 'cjs') options.define = { ...options.define, 'import.meta.url': 'importMetaUrl' }
  },
})
