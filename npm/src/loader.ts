/** Loads and instantiates the wasm core once per thread. */
import type { CoreModule } from "./core-types.js";
import { SyncError } from "./errors.js";
import type { WasmSource } from "./worker/protocol.js";

let loading: Promise<CoreModule["CoreClient"]> | undefined;

/**
 * The initialised core of this thread. Memoised; a failure is not, so that the next `open()` tries again.
 * `glue` and `source` are only used by the first caller.
 */
export function loadCore(
  glue: () => Promise<CoreModule>,
  source: () => Promise<WasmSource>,
): Promise<CoreModule["CoreClient"]> {
  loading ??= instantiate(glue, source).catch((error: unknown) => {
    loading = undefined;
    throw error;
  });
  return loading;
}

async function instantiate(
  glue: () => Promise<CoreModule>,
  source: () => Promise<WasmSource>,
): Promise<CoreModule["CoreClient"]> {
  // Both start at once: neither download waits for the other.
  const [core, wasm] = await Promise.all([glue(), source().then(compile)]);
  try {
    await core.default({ module_or_path: wasm });
  } catch (error) {
    throw wasmFailed("The sync core could not be started.", error);
  }
  return core.CoreClient;
}

async function compile(source: WasmSource): Promise<WebAssembly.Module> {
  if (source instanceof WebAssembly.Module) return source;
  if (typeof source === "string") return compileUrl(source);
  try {
    return await WebAssembly.compile(source as BufferSource);
  } catch (error) {
    throw wasmFailed(compileHint("The sync core could not be compiled."), error);
  }
}

async function compileUrl(url: string): Promise<WebAssembly.Module> {
  let response: Response;
  try {
    response = await fetch(url, { credentials: "same-origin" });
  } catch (error) {
    throw wasmFailed(`The sync core could not be fetched from ${url}. Check the network and connect-src of the page's CSP.`, error, true);
  }
  if (!response.ok) {
    throw wasmFailed(
      `The sync core could not be fetched from ${url}: HTTP ${response.status}. Serve core_bg.wasm there or pass wasmUrl to open().`,
      undefined,
      response.status >= 500,
    );
  }
  try {
    const type = response.headers.get("content-type") ?? "";
    // Streaming insists on the MIME type; many static servers don't know it.
    if (type.startsWith("application/wasm")) return await WebAssembly.compileStreaming(response);
    return await WebAssembly.compile(await response.arrayBuffer());
  } catch (error) {
    throw wasmFailed(compileHint(`What ${url} serves is not the sync core, or may not be compiled here.`), error);
  }
}

const compileHint = (what: string): string =>
  `${what} A Content-Security-Policy needs script-src 'wasm-unsafe-eval'; if there is one, check wasmUrl.`;

function wasmFailed(message: string, cause: unknown, retryable = false): SyncError {
  const reason = cause instanceof Error ? cause.message : undefined;
  return new SyncError("WASM_FAILED", message, { cause, reason, retryable });
}
