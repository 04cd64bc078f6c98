/** Spoils invite links: `#0k=<version>.<base64url of 16 bytes lookup, 32 bytes key, and the relay's URL>`. */

const LOOKUP = 16;
const KEY = 32;

function change(link: string, spoil: (bytes: Buffer) => Buffer): string {
  const [head = "", data = ""] = link.split("#0k=1.");
  return `${head}#0k=1.${spoil(Buffer.from(data, "base64url")).toString("base64url")}`;
}

/** The right place, another key. */
export const withWrongKey = (link: string): string =>
  change(link, (bytes) => {
    bytes[LOOKUP] = (bytes[LOOKUP] ?? 0) ^ 1;
    return bytes;
  });

/** An invite that the relay has never seen. */
export const withWrongLookup = (link: string): string =>
  change(link, (bytes) => {
    bytes[0] = (bytes[0] ?? 0) ^ 1;
    return bytes;
  });

/** The end was not copied. */
export const truncated = (link: string): string => change(link, (bytes) => bytes.subarray(0, LOOKUP + KEY / 2));

/** Made by a future version. */
export const ofAnotherVersion = (link: string): string => link.replace("#0k=1.", "#0k=9.");

/** The link of another relay. */
export const withRelay = (link: string, url: string): string =>
  change(link, (bytes) => Buffer.concat([bytes.subarray(0, LOOKUP + KEY), Buffer.from(url)]));
