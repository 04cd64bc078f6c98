/** Compiles only while the generated core offers what src/core-types.d.ts promises. Never run. */
import type * as generated from "../wasm/core.js";
import type { CoreClient, CoreModule } from "../src/core-types.js";

type Assignable<From extends To, To> = From;

export type GeneratedClient = Assignable<generated.CoreClient, CoreClient>;
export type GeneratedModule = Assignable<
  { default: typeof generated.default; CoreClient: Pick<typeof generated.CoreClient, "open"> },
  CoreModule
>;
