/** The benchmarks that need browsers. Run by `cargo xtask bench --browser`, which judges the results. */
import { catchUp } from "./catch-up.js";
import { latency } from "./latency.js";

await latency();
await catchUp();
