/** A device at the terminal: the `zerok` binary with a data folder of its own. */
import { execFile, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { ZEROK_BIN } from "./paths.js";

/** A line that `pull --json` prints. */
export interface Line {
  position: number;
  sender: string;
  own: boolean;
  text?: string;
}

export class Terminal {
  readonly #env: NodeJS.ProcessEnv;
  #follower: ChildProcess | undefined;
  /** What `pull --follow` has printed. */
  readonly followed: Line[] = [];

  constructor(folder: string) {
    this.#env = { ...process.env, ZEROK_DATA_DIR: folder };
  }

  /** Runs a command to its end, and gives the objects that it printed. */
  async run(...args: string[]): Promise<Record<string, unknown>[]> {
    const { stdout } = await promisify(execFile)(ZEROK_BIN, [...args, "--json"], { env: this.#env });
    return stdout
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  /** Runs a command to its end, and gives its exit code. */
  async code(...args: string[]): Promise<number | null> {
    const child = spawn(ZEROK_BIN, args, { env: this.#env, stdio: "ignore" });
    await once(child, "exit");
    return child.exitCode;
  }

  /** Texts of the log, in its order. */
  async texts(): Promise<string[]> {
    return (await this.run("pull")).map((line) => String(line.text));
  }

  /** Starts `pull --follow`. */
  follow(): void {
    const child = spawn(ZEROK_BIN, ["pull", "--follow", "--json"], { env: this.#env, stdio: ["ignore", "pipe", "inherit"] });
    this.#follower = child;
    createInterface({ input: child.stdout }).on("line", (line) => this.followed.push(JSON.parse(line) as Line));
  }

  /** Ctrl-C; gives its exit code. */
  async stopFollowing(): Promise<number | null> {
    const child = this.#follower;
    this.#follower = undefined;
    if (child === undefined) return null;
    if (child.exitCode === null) {
      const exited = once(child, "exit");
      child.kill("SIGINT");
      await exited;
    }
    return child.exitCode;
  }
}
