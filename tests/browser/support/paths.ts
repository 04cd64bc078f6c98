/** Where things are. */
import { fileURLToPath } from "node:url";

const inRepository = (path: string): string => fileURLToPath(new URL(`../../../${path}`, import.meta.url));

/** The built demo app. */
export const DEMO_DIST = inRepository("web-demo/dist");
/** The built bare page. */
export const PAGE_DIST = inRepository("tests/browser/page/dist");
/** Screenshots for people. */
export const SCREENSHOTS = inRepository("tests/browser/screenshots");
/** The relay's binary. */
export const RELAY_BIN = process.env.RELAY_BIN ?? inRepository("target/debug/zerok-relay");
/** The terminal client. */
export const ZEROK_BIN = process.env.ZEROK_BIN ?? inRepository("target/debug/zerok");
/** The browser. */
export const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
/** The browser core with the exports that only tests and benchmarks call: `cargo xtask wasm --testing`. */
export const TESTING_CORE = process.env.TESTING_CORE ?? inRepository("target/xtask/wasm-dev-testing");
/** Where results of benchmarks go. */
export const BENCH_RESULTS = process.env.BENCH_RESULTS ?? inRepository("bench-results");
