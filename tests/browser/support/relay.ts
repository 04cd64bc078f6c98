/** A relay process of its own for each test: free ports, a temporary folder. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { RELAY_BIN } from "./paths.js";

/** How a relay is started. */
export interface RelayOptions {
  /** A folder for its data and its log. */
  folder: string;
  /** Files that it serves at `/`. */
  web?: string;
  /** What RUST_LOG says. */
  log?: string;
  /** Further arguments. */
  args?: string[];
}

/** A relay that can be stopped, killed, and started again on the same port and data. */
export class Relay {
  readonly #options: RelayOptions;
  #child: ChildProcess | undefined;
  #port = 0;

  private constructor(options: RelayOptions) {
    this.#options = options;
  }

  /** Starts a relay on a free port and waits until it is ready. */
  static async start(options: RelayOptions): Promise<Relay> {
    const relay = new Relay(options);
    await relay.start();
    return relay;
  }

  /** The URL for clients, and of the app that it serves. */
  get url(): string {
    return `http://localhost:${this.#port}`;
  }

  /** Its data folder. */
  get data(): string {
    return join(this.#options.folder, "data");
  }

  /** Its database. */
  get database(): string {
    return join(this.data, "relay.db");
  }

  /** Where everything that it logs goes. */
  get log(): string {
    return join(this.#options.folder, "relay.log");
  }

  /** Starts it, after `kill` or `stop` on the same port as before. */
  async start(): Promise<void> {
    if (this.#child !== undefined) throw new Error("the relay runs already");
    const { web, log = "zerok_sync_relay=debug,warn", args = [] } = this.#options;
    const child = spawn(
      RELAY_BIN,
      [
        ...["--data-dir", this.data, "--bind", "127.0.0.1", "--port", String(this.#port)],
        ...(web === undefined ? [] : ["--web", web]),
        ...args,
      ],
      { env: { ...process.env, RUST_LOG: log, NO_COLOR: "1" }, stdio: ["ignore", "pipe", "pipe"] },
    );
    this.#child = child;
    child.stderr.pipe(createWriteStream(this.log, { flags: "a" }));
    this.#port = await this.#ready(child);
  }

  /** `kill -9`; gone when this resolves. */
  kill(): Promise<void> {
    return this.#end("SIGKILL");
  }

  /** SIGTERM; gone when this resolves. */
  stop(): Promise<void> {
    return this.#end("SIGTERM");
  }

  /** Forgets everything stored, while it is stopped. Its identity stays. */
  async deleteDatabase(): Promise<void> {
    if (this.#child !== undefined) throw new Error("stop the relay first");
    for (const suffix of ["", "-wal", "-shm"]) await rm(this.database + suffix, { force: true });
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    const runs = child?.exitCode === null && child.signalCode === null;
    if (child === undefined || !runs) return;
    const exited = once(child, "exit");
    child.kill(signal);
    await exited;
  }

  async #ready(child: ChildProcess & { stdout: NodeJS.ReadableStream }): Promise<number> {
    for await (const line of createInterface({ input: child.stdout })) {
      const port = /give clients this URL: http:\/\/[^ ]*:(\d+)/.exec(line)?.[1];
      if (port !== undefined) {
        // Nobody reads on; a full pipe would stop it.
        child.stdout.resume();
        return Number(port);
      }
    }
    const log = await readFile(this.log, "utf8").catch(() => "");
    throw new Error(`the relay ended before it was ready:\n${log.split("\n").slice(-20).join("\n")}`);
  }
}
