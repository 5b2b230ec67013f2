import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vitest/config";

export default defineConfig({
  // Relative addresses: the built app works from any folder of any static host.
  base: "./",
  plugins: [svelte({ configFile: false })],
  // Compressors that no array of a store uses: 1.4 MB that nobody would load.
  resolve: { alias: [{ find: /^numcodecs\/(blosc|lz4|zstd)$/, replacement: `${import.meta.dirname}/src/data/absent-codec.ts` }] },
  build: { outDir: "dist", emptyOutDir: true, target: "es2022", modulePreload: { polyfill: false } },
  test: { include: ["test/*.test.ts"] },
});
