/** Files that the build takes as they are. */

declare module "*.txt" {
  const text: string;
  export default text;
}

declare module "@zxcvbn-ts/language-en/dist/commonWords.json.mjs" {
  const words: string[];
  export default words;
}

declare module "@zxcvbn-ts/language-en/dist/firstnames.json.mjs" {
  const names: string[];
  export default names;
}

declare module "@zxcvbn-ts/language-en/dist/translations.mjs" {
  const translations: import("@zxcvbn-ts/core").TranslationKeys;
  export default translations;
}
