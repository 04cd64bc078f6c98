/** Estimates how hard a passphrase is to guess. Large, because it knows what people choose: loaded on first use only. */
import { ZxcvbnFactory } from "@zxcvbn-ts/core";
import { adjacencyGraphs, dictionary } from "@zxcvbn-ts/language-common";
// Lists of names and of words in encyclopedias would double the size, and say little about phrases.
import commonWords from "@zxcvbn-ts/language-en/dist/commonWords.json.mjs";
import firstNames from "@zxcvbn-ts/language-en/dist/firstnames.json.mjs";
import translations from "@zxcvbn-ts/language-en/dist/translations.mjs";

/** The time grows with the square of what is looked at; more only makes it stronger. */
const LOOKED_AT = 128;
const MAX_SUBSTITUTIONS = 20;

let zxcvbn: ZxcvbnFactory | undefined;

/** Bits, and what people can do about it. */
export function judge(passphrase: string, about: string[]): { bits: number; warning: string | null; suggestions: string[] } {
  zxcvbn ??= new ZxcvbnFactory({
    dictionary: { ...dictionary, commonWords, firstNames },
    graphs: adjacencyGraphs,
    translations,
    maxLength: LOOKED_AT,
    l33tMaxSubstitutions: MAX_SUBSTITUTIONS,
  });
  const { guessesLog10, feedback } = zxcvbn.check(passphrase, about);
  return { bits: guessesLog10 * Math.log2(10), ...feedback };
}
