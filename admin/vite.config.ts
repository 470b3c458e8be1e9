// Both pages are built into the server's crate, which embeds the files: their names are fixed, and their addresses are relative
// to the page's own, below whatever prefix a listener has. `--mode docs` builds the page at /docs, else it is the one at /admin.
import { defineConfig } from 'vite';

const HTTP = '../crates/fanfare-server/src/http';

export default defineConfig(({ mode }) => {
  const page = mode === 'docs'
    ? { input: 'docs.html', folder: `${HTTP}/openapi/built`, files: 'docs/page' }
    : { input: 'index.html', folder: `${HTTP}/admin/built`, files: 'admin/app' };
  return {
    base: './',
    publicDir: false,
    esbuild: { jsx: 'automatic', jsxImportSource: 'preact' },
    build: {
      outDir: page.folder,
      emptyOutDir: true,
      target: 'es2022',
      modulePreload: false,
      assetsInlineLimit: 0,
      rollupOptions: {
        input: page.input,
        output: { entryFileNames: `${page.files}.js`, assetFileNames: `${page.files}[extname]`, inlineDynamicImports: true },
      },
    },
    server: { proxy: { '/api': 'http://127.0.0.1:8000' } },
  };
});
