/** Passphrases that nobody has to think of. */

/** Six of 7,776 words are 77 bits. */
const WORDS = 6;

export async function generatePassphrase(): Promise<string> {
  const { words } = await import("./words.js");
  return Array.from({ length: WORDS }, () => words[below(words.length)]).join(" ");
}

/** A random number from 0 to `count` - 1, each as likely as the others. */
function below(count: number): number {
  const fair = 2 ** 32 - (2 ** 32 % count);
  for (;;) {
    const [random = fair] = crypto.getRandomValues(new Uint32Array(1));
    if (random < fair) return random % count;
  }
}
