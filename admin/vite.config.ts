// The page is built into the server's crate, which embeds the files: their names are fixed, and their addresses are relative
// to `/admin`, below whatever prefix a listener has.
import { defineConfig } from 'vite';

export default defineConfig({
  base: './',
  publicDir: false,
  esbuild: { jsx: 'automatic', jsxImportSource: 'preact' },
  build: {
    outDir: '../crates/fanfare-server/src/http/admin/built',
    emptyOutDir: true,
    target: 'es2022',
    modulePreload: false,
    assetsInlineLimit: 0,
    rollupOptions: {
      output: { entryFileNames: 'admin/app.js', assetFileNames: 'admin/app[extname]', inlineDynamicImports: true },
    },
  },
  server: { proxy: { '/api': 'http://127.0.0.1:8000' } },
});
