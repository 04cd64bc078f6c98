//! The page around the plots: one file, light and dark, readable on a phone.

/// Colours of devices, one after the other; they differ in brightness too, and have enough contrast on white and on black.
pub const SERIES: usize = 6;

const STYLE: &str = "
  :root { color-scheme: light dark; --text: #1f2328; --dim: #59636e; --line: #d1d9e0; --back: #ffffff; --card: #f6f8fa;
    --met: #1a7f37; --missed: #cf222e; --fault: #fb8f4433; --s0: #0969da; --s1: #bf3989; --s2: #1a7f37; --s3: #9a6700;
    --s4: #8250df; --s5: #57606a; }
  @media (prefers-color-scheme: dark) { :root { --text: #f0f6fc; --dim: #9198a1; --line: #3d444d; --back: #0d1117; --card: #151b23;
    --met: #3fb950; --missed: #f85149; --fault: #db6d2844; --s0: #4493f8; --s1: #f778ba; --s2: #3fb950; --s3: #d29922;
    --s4: #ab7df8; --s5: #9198a1; } }
  * { box-sizing: border-box }
  body { margin: 0 auto; padding: 1rem; max-width: 70rem; font: 1rem/1.45 system-ui, sans-serif; color: var(--text);
    background: var(--back) }
  h1 { font-size: 1.5rem; margin: .5rem 0 } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem } h3 { font-size: 1rem; margin: 0 }
  p { margin: .25rem 0 } .small { color: var(--dim); font-size: .85rem } .note { font-size: .85rem; overflow-wrap: anywhere }
  .met { color: var(--met) } .missed { color: var(--missed) }
  section.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)); gap: 1rem }
  article { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .75rem; min-width: 0 }
  svg { display: block; width: 100%; height: auto } svg text { fill: var(--text); font: 12px system-ui, sans-serif }
  svg .dim { fill: var(--dim) } svg .axis { stroke: var(--line); stroke-width: 1 } svg .fault { fill: var(--fault) }
  svg .bar { fill: var(--s0) } svg .bar.missed { fill: var(--missed) }
  svg .end { stroke: var(--met); stroke-width: 1.5; stroke-dasharray: 4 3 }
  svg polyline { fill: none; stroke-width: 1.8; stroke-linejoin: round }
  .s0 { stroke: var(--s0) } .s1 { stroke: var(--s1) } .s2 { stroke: var(--s2) } .s3 { stroke: var(--s3) } .s4 { stroke: var(--s4) }
  .s5 { stroke: var(--s5) }
  .legend { display: flex; flex-wrap: wrap; gap: .25rem 1rem; font-size: .85rem; margin: .25rem 0 0; padding: 0; list-style: none }
  .legend svg { display: inline-block; width: 1.2rem; height: .7rem; vertical-align: baseline }
  .rows { display: grid; gap: .15rem } .row { display: grid; grid-template-columns: 6.2rem 1fr 4rem; gap: .5rem; align-items: center;
    font-size: .85rem; color: inherit; text-decoration: none } .row i { display: block; height: .8rem; border-radius: .15rem;
    background: var(--s0); min-width: 2px } .row.missed i { background: var(--missed) } .row .what { color: var(--dim) }
  @media (min-width: 45rem) { .row { grid-template-columns: 6.2rem 22rem 1fr 4rem } } @media (max-width: 44.99rem) { .row .what { display: none } }
";

/// A whole document.
#[must_use]
pub fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, \
         initial-scale=1\">\n<link rel=\"icon\" href=\"data:,\">\n<title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n",
        escape(title)
    )
}

/// Text that can stand in HTML.
#[must_use]
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// A legend: names in the colours of their lines.
#[must_use]
pub fn legend<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let item = |(index, name): (usize, &str)| {
        format!(
            "<li><svg viewBox=\"0 0 20 10\" aria-hidden=\"true\"><polyline class=\"s{}\" style=\"stroke-width:4\" points=\"0,5 20,5\"/></svg> {}</li>",
            index % SERIES,
            escape(name)
        )
    };
    format!(
        "<ul class=\"legend\">{}</ul>\n",
        names.enumerate().map(item).collect::<String>()
    )
}

/// A number that ends an axis: not below the largest value, and easy to read.
#[must_use]
pub fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    let step = steps
        .into_iter()
        .find(|step| step * power >= value * 0.999_999);
    step.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_with_easy_numbers() {
        for (value, end) in [
            (0.0, 1.0),
            (0.9, 1.0),
            (1.2, 1.5),
            (37.0, 40.0),
            (100.0, 100.0),
            (1_015.0, 1_500.0),
        ] {
            assert!(
                (round_up(value) - end).abs() < 1e-9,
                "{value} {}",
                round_up(value)
            );
        }
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(escape("<a & \"b\">"), "&lt;a &amp; &quot;b&quot;&gt;");
        assert!(page("<", "").contains("<title>&lt;</title>"));
    }
}
