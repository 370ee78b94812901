import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { defineConfig } from "vite";

const OUT = "../src/aether/api/ui";

/** Names a build by what it is made from; the platform tells it with every answer, and an older page hears of it. */
function buildId(): string {
  const hash = createHash("sha256");
  const files = readdirSync("src", { recursive: true, withFileTypes: true }).filter((f) => f.isFile());
  const paths = files.map((f) => join(f.parentPath, f.name)).sort();
  for (const path of [...paths, "package-lock.json"]) hash.update(path).update(readFileSync(path));
  return hash.digest("hex").slice(0, 16);
}

const build = buildId();

// The build lands inside the Python package, which serves it. In development, `npm run dev` talks to a running platform.
export default defineConfig({
  define: { __BUILD__: JSON.stringify(build) },
  esbuild: { jsx: "automatic" },
  plugins: [{ name: "build-id", apply: "build", closeBundle: () => writeFileSync(join(OUT, "build.txt"), build) }],
  build: {
    outDir: OUT,
    emptyOutDir: true,
    target: "es2022",
    rollupOptions: {
      // Libraries mark what is the browser's alone; here everything is.
      onwarn: (warning, warn) => warning.code !== "MODULE_LEVEL_DIRECTIVE" && warn(warning),
    },
  },
  server: { proxy: { "/api": { target: "http://127.0.0.1:8000", ws: true } } },
});
