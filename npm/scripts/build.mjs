/**
 * Builds dist/: JavaScript by esbuild, declarations by tsc, and the wasm as a file of its own.
 *
 *   node scripts/build.mjs [--core DIR] [--out DIR]
 *
 * Everything is made in a folder of its own first, so that a failure, or somebody reading meanwhile, never meets half
 * a package. DIR of --core holds what `cargo xtask wasm` makes: core.js, core.d.ts, core_bg.wasm (default: wasm/).
 */
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { build } from "esbuild";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const { values } = parseArgs({ options: { core: { type: "string" }, out: { type: "string" } } });
const core = values.core === undefined ? join(root, "wasm") : resolve(values.core);
const target = values.out === undefined ? join(root, "dist") : resolve(values.out);
const out = join(dirname(target), ".dist-new");

for (const file of ["core.js", "core.d.ts", "core_bg.wasm"]) {
  if (!existsSync(join(core, file))) {
    console.error(`${join(core, file)} is missing: run cargo xtask wasm first.`);
    process.exit(1);
  }
}

/** Resolves the names of src/core-modules.d.ts to the files in `core`. */
const coreFiles = {
  name: "core-files",
  setup({ onResolve }) {
    onResolve({ filter: /^zerok:core$/ }, () => ({ path: join(core, "core.js"), sideEffects: false }));
    onResolve({ filter: /^zerok:core-wasm$/ }, () => ({ path: join(core, "core_bg.wasm") }));
  },
};

const common = {
  absWorkingDir: root,
  bundle: true,
  format: "esm",
  target: "es2022",
  platform: "neutral",
  mainFields: ["module", "main"],
  sourcemap: true,
  legalComments: "none",
  loader: { ".wasm": "binary", ".txt": "text" },
  plugins: [coreFiles],
  outdir: out,
  logLevel: "warning",
};

rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });

await bundle({
  ...common,
  entryPoints: ["browser", "node", "slim", "inline"].map((name) => `src/entry/${name}.ts`),
  outbase: "src",
  splitting: true,
  chunkNames: "chunks/[name]-[hash]",
  external: ["node:*", "ws"],
});
// The worker must not import anything: bundlers and servers then have one file to move.
await bundle({ ...common, entryPoints: ["src/worker/worker.ts"], entryNames: "worker", splitting: false });
copyFileSync(join(core, "core_bg.wasm"), join(out, "core_bg.wasm"));

tsc("tsconfig.types.json", "--outDir", out);
// Fails if the core that was just packed no longer offers what src/core-types.d.ts says.
if (values.core === undefined) tsc("tsconfig.contract.json");

rmSync(target, { recursive: true, force: true });
renameSync(out, target);

/** esbuild has printed what is wrong by then. */
async function bundle(options) {
  await build(options).catch(() => process.exit(1));
}

function tsc(project, ...options) {
  const compiler = createRequire(import.meta.url).resolve("typescript/bin/tsc");
  const { status } = spawnSync(process.execPath, [compiler, "-p", project, ...options], { cwd: root, stdio: "inherit" });
  if (status !== 0) process.exit(status ?? 1);
}
