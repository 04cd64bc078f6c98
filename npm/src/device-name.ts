/** A name by which people recognise this device. */

interface BrandData {
  brands?: { brand: string }[];
  platform?: string;
}

// First match wins: browsers name their relatives in their user agents.
const BROWSERS: readonly (readonly [RegExp, string])[] = [
  [/Edg(e|A|iOS)?\//, "Edge"],
  [/OPR\/|Opera/, "Opera"],
  [/SamsungBrowser\//, "Samsung Internet"],
  [/Firefox\/|FxiOS\//, "Firefox"],
  [/Chrome\/|Chromium\/|CriOS\//, "Chrome"],
  [/Safari\//, "Safari"],
];
const PLATFORMS: readonly (readonly [RegExp, string])[] = [
  [/iPhone/, "iPhone"],
  [/iPad/, "iPad"],
  [/Android/, "Android"],
  [/CrOS/, "ChromeOS"],
  [/Mac OS X|Macintosh/, "Mac"],
  [/Windows/, "Windows"],
  [/Linux/, "Linux"],
];

/** For example "Firefox on Windows", or "Node.js on linux". */
export function defaultDeviceName(): string {
  const { navigator, process } = globalThis as {
    navigator?: Navigator;
    process?: { versions?: { node?: string }; platform?: string };
  };
  if (process?.versions?.node !== undefined) return `Node.js on ${process.platform ?? "this machine"}`;
  const agent = navigator?.userAgent ?? "";
  return `${find(BROWSERS, agent) ?? "Browser"} on ${platformName() ?? "this device"}`;
}

/** What this device runs on, if anybody can tell. */
export function platformName(): string | undefined {
  const { navigator, process } = globalThis as {
    navigator?: Navigator & { userAgentData?: BrandData };
    process?: { versions?: { node?: string }; platform?: string };
  };
  if (process?.versions?.node !== undefined) return process.platform;
  return find(PLATFORMS, navigator?.userAgent ?? "") ?? navigator?.userAgentData?.platform;
}

const find = (table: readonly (readonly [RegExp, string])[], text: string): string | undefined =>
  table.find(([pattern]) => pattern.test(text))?.[1];
