import { defineConfig } from "vite";

// The build lands inside the Python package, which serves it. In development, `npm run dev` talks to a running platform.
export default defineConfig({
  esbuild: { jsx: "automatic" },
  build: { outDir: "../src/aether/api/ui", emptyOutDir: true, target: "es2022", chunkSizeWarningLimit: 800 },
  server: { proxy: { "/api": { target: "http://127.0.0.1:8000", ws: true } } },
});
