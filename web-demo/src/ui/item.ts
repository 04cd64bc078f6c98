/** One line of the list: tick, edit in place, delete. */
import type { Item } from "../model/list.js";
import { h, icon, setText } from "./dom.js";

export interface ItemActions {
  toggle(id: string, done: boolean): void;
  edit(id: string, text: string): void;
  remove(id: string): void;
}

/** A line that stays the same element while its item changes, so that focus and animations survive. */
export class ItemRow {
  readonly element: HTMLLIElement;
  readonly #checkbox: HTMLInputElement;
  readonly #text: HTMLButtonElement;
  readonly #remove: HTMLButtonElement;
  #item: Item;

  constructor(item: Item, actions: ItemActions) {
    this.#item = item;
    this.#checkbox = h("input", {
      type: "checkbox",
      class: "tick-input",
      "data-testid": "item-toggle",
      onchange: () => actions.toggle(this.#item.id, this.#checkbox.checked),
    });
    this.#text = h("button", { class: "item-text", type: "button", "data-testid": "item-text", onclick: () => this.#edit(actions) });
    this.#remove = h(
      "button",
      { class: "icon-button item-delete", type: "button", "data-testid": "item-delete", onclick: () => actions.remove(this.#item.id) },
      icon("close"),
    );
    this.element = h(
      "li",
      { class: "item", "data-testid": "item" },
      h("label", { class: "tick" }, this.#checkbox, icon("check")),
      this.#text,
      this.#remove,
    );
    this.show(item);
  }

  show(item: Item): void {
    this.#item = item;
    this.element.dataset.id = item.id;
    this.element.classList.toggle("done", item.done);
    this.#checkbox.checked = item.done;
    this.#checkbox.setAttribute("aria-label", item.text);
    this.#remove.setAttribute("aria-label", `Delete ${item.text}`);
    this.#text.title = "Edit";
    setText(this.#text, item.text);
  }

  #edit(actions: ItemActions): void {
    const before = this.#item.text;
    const input = h("input", { class: "item-edit", type: "text", maxlength: 500, "aria-label": `Edit ${before}`, "data-testid": "item-edit" });
    input.value = before;
    let finished = false;
    const finish = (save: boolean, refocus: boolean): void => {
      if (finished) return;
      finished = true;
      const text = input.value.trim();
      input.replaceWith(this.#text);
      if (refocus) this.#text.focus();
      if (save && text !== "" && text !== before) actions.edit(this.#item.id, text);
    };
    input.addEventListener("keydown", (event) => {
      if (event.isComposing || (event.key !== "Enter" && event.key !== "Escape")) return;
      // Focus moves to the text, which this key would press.
      event.preventDefault();
      finish(event.key === "Enter", true);
    });
    input.addEventListener("blur", () => finish(true, false));
    this.#text.replaceWith(input);
    input.focus();
    input.select();
  }
}
