/** Looks into the relay's SQLite database, or spoils it. Node 20 has no SQLite; Python has. */
import { execFileSync } from "node:child_process";

const SCRIPT = `
import json, sqlite3, sys
path, sql, parameters = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
db = sqlite3.connect(path, timeout=10)
rows = db.execute(sql, [bytes.fromhex(p["hex"]) if isinstance(p, dict) else p for p in parameters]).fetchall()
db.commit()
print(json.dumps([[{"hex": v.hex()} if isinstance(v, bytes) else v for v in row] for row in rows]))
`;

/** Bytes as they travel to and from Python. */
export interface Hex {
  hex: string;
}

type Value = string | number | null | Hex;

/** Runs one statement and gives its rows. Works while the relay runs. */
export function sql(database: string, statement: string, parameters: Value[] = []): Value[][] {
  const output = execFileSync("python3", ["-c", SCRIPT, database, statement, JSON.stringify(parameters)], {
    maxBuffer: 256 * 1024 * 1024,
    encoding: "utf8",
  });
  return JSON.parse(output) as Value[][];
}

/** One column of a query that selects bytes, in hex. */
export const hexColumn = (database: string, statement: string): string[] =>
  sql(database, statement).map(([value]) => (value as Hex).hex);
