/** A device that was removed can't come back as what it was: it becomes another one. */
import { DATABASE } from "../location.js";
import { afresh, forgetAll } from "../memory.js";
import { confirm } from "./dialog.js";

/** Asks, then starts again with nothing. */
export async function offerToStartAfresh(otherLists: number): Promise<void> {
  const others =
    otherLists === 0 ? "" : ` Your ${otherLists === 1 ? "other list is" : `${otherLists} other lists are`} removed from this device, too, with what was not sent yet.`;
  const sure = await confirm({
    title: "Start afresh on this device?",
    text: `The list is removed from this device, and its identity with it.${others} Then you can join with a new invitation.`,
    yes: "Clear and start afresh",
    danger: true,
  });
  if (!sure) return;
  afresh.set("yes");
  // Ends the client as well, without waiting for it.
  location.reload();
}

/** Before the database is opened: clears it if that was asked for, when nothing in this page uses it. */
export async function clearIfAsked(): Promise<void> {
  if (afresh.get() !== "yes") return;
  await new Promise<void>((resolve, reject) => {
    // The package puts its own name before that of the database.
    const request = indexedDB.deleteDatabase(`0k-sync:${DATABASE}`);
    // A page that is going away may still have it open for a moment: it waits.
    request.onsuccess = () => resolve();
    request.onerror = () => reject(request.error ?? new Error("The browser could not delete the data"));
  });
  forgetAll();
}
