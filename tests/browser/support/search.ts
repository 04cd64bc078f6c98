/** Looks for bytes, however they may have been written down. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

/** The bytes raw, as hex, base64 at each alignment, UTF-16, and as a list of numbers. */
export function encodingsOf(bytes: Buffer): Buffer[] {
  const text = bytes.toString("latin1");
  const utf16 = Buffer.from(text, "utf16le");
  const base64 = [0, 1, 2].flatMap((shift) => {
    const encoded = Buffer.concat([Buffer.alloc(shift), bytes]).toString("base64");
    // The characters that depend on nothing but these bytes.
    const own = encoded.slice(Math.ceil((shift * 4) / 3), Math.floor(((shift + bytes.length) * 4) / 3) - 1);
    return [own, own.replaceAll("+", "-").replaceAll("/", "_")];
  });
  return [
    bytes,
    utf16,
    Buffer.from(utf16).swap16(),
    ...[bytes.toString("hex"), bytes.toString("hex").toUpperCase(), [...bytes].join(", "), [...bytes].join(","), ...base64].map((each) => Buffer.from(each)),
  ];
}

/** Names of the places in which one of these is. */
export const findIn = (places: Map<string, Buffer>, needles: Buffer[]): string[] =>
  [...places].filter(([, bytes]) => needles.some((needle) => bytes.includes(needle))).map(([name]) => name);

/** Names of the files in a folder that hold one of these. */
export async function filesWith(folder: string, needles: Buffer[]): Promise<string[]> {
  const files = await readdir(folder, { recursive: true, withFileTypes: true });
  const found: string[] = [];
  for (const file of files.filter((each) => each.isFile())) {
    // A browser that runs removes files meanwhile.
    const bytes = await readFile(join(file.parentPath, file.name)).catch(() => Buffer.alloc(0));
    if (needles.some((needle) => bytes.includes(needle))) found.push(file.name);
  }
  return found;
}
