/** Build inputs that exist only after `cargo xtask wasm`; scripts/build.mjs resolves these names. */

declare module "zerok:core" {
  const init: import("./core-types.js").CoreModule["default"];
  export default init;
  export const CoreClient: import("./core-types.js").CoreModule["CoreClient"];
}

declare module "zerok:core-wasm" {
  /** The wasm file, carried as base64 in the JavaScript and decoded on load. */
  const bytes: Uint8Array<ArrayBuffer>;
  export default bytes;
}
