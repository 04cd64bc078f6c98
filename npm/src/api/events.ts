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
    const handlers = this.#handlers[event];
    for (const handler of [...handlers]) {
      queueMicrotask(() => {
        // What it throws is the app's: reported like any uncaught error, and no other handler notices.
        if (handlers.has(handler)) handler(value);
      });
    }
  }
}
