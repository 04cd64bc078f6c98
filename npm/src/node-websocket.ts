/** A WebSocket for Node versions that have none of their own. */
import { WebSocket } from "ws";

/**
 * `ws`, held to what browsers do: each message is a task of its own, and none comes before what the `open` event
 * started has run. Otherwise a message that arrives together with the handshake finds nobody who listens.
 */
export class NodeWebSocket extends WebSocket {
  constructor(url: string | URL, protocols?: string | string[]) {
    super(url, protocols, { allowSynchronousEvents: false });
    this.once("open", () => {
      this.pause();
      setImmediate(() => this.resume());
    });
  }
}
