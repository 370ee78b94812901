// The rules of the page's house, and the weight of its parts. Run after a build: `node rules.mjs`.
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { gzipSync } from "node:zlib";

const SOURCE = "src";
const OUT = "../src/aether/api/ui";
const KB = 1_000;
const BUDGETS = { "the way in": 110 * KB, "the overview": 200 * KB, "any page": 260 * KB };
const wrong = [];

// Who may import whom: `ui` nothing of the business, features not each other (but what the set-up wizard is made of).
for (const entry of readdirSync(SOURCE, { recursive: true, withFileTypes: true })) {
  if (!entry.isFile() || !/\.tsx?$/.test(entry.name)) continue;
  const path = relative(SOURCE, join(entry.parentPath, entry.name));
  const text = readFileSync(join(SOURCE, path), "utf8");
  const [room, feature] = path.split("/");
  for (const [, target] of text.matchAll(/from "(\.[^"]+)"/g)) {
    const to = relative(SOURCE, join(SOURCE, path, "..", target)).split("/");
    if (room === "ui" && ["features", "app"].includes(to[0])) wrong.push(`${path} imports ${to.join("/")}: ui knows no business`);
    const isOther = room === "features" && to[0] === "features" && to.length > 2 && to[1] !== feature;
    if (isOther && feature !== "setup") wrong.push(`${path} imports ${to.join("/")}: features do not import each other`);
  }
  if (/\bNumber\(/.test(text) && !/^ui\/(format|chart)/.test(path) && !/\.test\.tsx?$/.test(path)) wrong.push(`${path}: Number( only in ui/format.ts`);
  if (/window\.(prompt|confirm|alert)\(/.test(text)) wrong.push(`${path}: no prompt of the browser's own`);
}

// What a browser loads for a page: an entry with all that it imports at once, and each part that it loads later.
const files = Object.fromEntries(readdirSync(join(OUT, "assets")).map((f) => [f, readFileSync(join(OUT, "assets", f), "utf8")]));
const size = (names) => [...names].reduce((n, f) => n + gzipSync(files[f]).length, 0);
const closure = (name, seen = new Set()) => {
  if (seen.has(name) || !files[name]) return seen;
  seen.add(name);
  for (const [, next] of files[name].matchAll(/(?:from|import)"\.\/([^"]+\.js)"/g)) closure(next, seen);
  return seen;
};
const named = (pattern) => Object.keys(files).filter((f) => pattern.test(f));
const styles = named(/\.css$/);
const [entry] = [...readFileSync(join(OUT, "index.html"), "utf8").matchAll(/assets\/([^"]+\.js)"/g)].map((m) => m[1]);
const frame = named(/^Desk-.*\.js$/)[0];
const weights = {};
weights["the way in"] = size(new Set([...closure(entry), ...styles.filter((f) => f.startsWith("index-"))]));
const whole = (names) => size(new Set([...closure(entry), ...closure(frame), ...styles, ...names.flatMap((f) => [...closure(f)])]));
const series = named(/^SeriesChart-.*\.js$/);
const prices = named(/^PriceChart-.*\.js$/);
const pages = named(/^(page|new)-.*\.js$/);
const overview = pages.filter((f) => files[f].includes("Net asset value") && files[f].includes("Recent fills"));
weights["the overview"] = whole([...overview, ...series]);
weights["any page"] = Math.max(...pages.map((f) => whole([f, ...(files[f].includes("SeriesChart") ? series : []), ...(files[f].includes("PriceChart") ? prices : [])])));
for (const [what, most] of Object.entries(BUDGETS)) {
  console.log(`${what.padEnd(14)} ${(weights[what] / KB).toFixed(1).padStart(6)} kB of ${most / KB}`);
  if (weights[what] > most) wrong.push(`${what} is ${weights[what]} bytes gzipped, more than ${most}`);
}
for (const fault of wrong) console.error(fault);
process.exit(wrong.length > 0 ? 1 : 0);
