/** The wasm as JavaScript: a third larger than the file, but it needs no fetch and no file system. */
export { default } from "zerok:core-wasm";
