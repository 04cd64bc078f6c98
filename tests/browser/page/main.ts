/** A page that uses the package and nothing else. Tests drive it through `window.zerok`. */
import { open, SyncError } from "@0k-sync/client";
import { Bench } from "./bench.js";
import { Harness } from "./harness.js";

const zerok = { open, SyncError, bench: new Bench(), harness: new Harness() };

/** What tests see. */
export type Zerok = typeof zerok;

declare global {
  interface Window {
    zerok: Zerok;
  }
}

window.zerok = zerok;
