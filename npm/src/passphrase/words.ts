/** The words of generated passphrases; see shared/words/README.md. Loaded on first use only. */
import list from "../../../shared/words/eff-large.txt";

export const words: readonly string[] = list.trimEnd().split("\n");
