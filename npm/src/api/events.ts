/** Typed event subscriptions. */
import { invalidArgument } from "../convert.js";
import type { Unsubscribe } from "../types.js";

/** Handlers by event name. Handlers run in microtasks: never inside the core, and never one inside another. */
export class Emitter<Events extends object> {
  readonly #handlers: { readonly [K in keyof Events]: Set<(value: Events[K]) => void> };

  /** `handlers` lists the event names that exist. */
  constructor(handlers: { readonly [K in keyof Events]: Set<(value: Events[K]) => void> }) {
    this.#handlers = handlers;
  }

  /** Adds a handler. The same function added twice is called twice. */
  on<K extends keyof Events>(event: K, handler: (value: Events[K]) => void): Unsubscribe {
    const handlers = this.#handlers[event] as Set<(value: Events[K]) => void> | undefined;
    if (handlers === undefined) throw invalidArgument(`There is no event "${String(event)}".`);
    if (typeof handler !== "function") throw invalidArgument(`on("${String(event)}") needs a function.`);
    const entry = (value: Events[K]): void => handler(value);
    handlers.add(entry);
    return () => void handlers.delete(entry);
  }

  /** Calls the handlers that are subscribed now and still are when their turn comes. */
  emit<K extends keyof Events>(event: K, value: Events[K]): void {
    void this.deliver(event, value);
  }

  /** The same; whether there was a handler, and all have finished without a failure. */
  async deliver<K extends keyof Events>(event: K, value: Events[K]): Promise<boolean> {
    const handlers = this.#handlers[event];
    const calls = [...handlers].map(async (handler) => {
      await Promise.resolve();
      return handlers.has(handler) ? run(() => handler(value)) : undefined;
    });
    const ends = (await Promise.all(calls)).filter((end) => end !== undefined);
    return ends.length > 0 && ends.every((end) => end);
  }
}

/**
 * Calls a handler of the app, at once, and waits for the promise that it may return: true if all went well. What it throws or rejects with is the app's:
 * reported like any uncaught error, and no other handler notices.
 */
export async function run(handler: () => unknown): Promise<boolean> {
  let result: unknown;
  try {
    result = handler();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
    return false;
  }
  const end = Promise.resolve(result);
  // One that nobody handles, so that a rejection is reported.
  void end.then(() => undefined);
  return end.then(
    () => true,
    () => false,
  );
}
