//! Tables, as HTML and as Markdown, and bars with their spread.

use std::fmt::Write as _;

use super::report::escape;

/// A table: heads, then rows of as many cells.
pub(super) struct Table {
    pub(super) heads: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(heads: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { heads: heads.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    pub(super) fn html(&self) -> String {
        let line = |tag: &str, cells: &[String]| {
            let cells: String = cells.iter().map(|c| format!("<{tag}>{}</{tag}>", escape(c))).collect();
            format!("<tr>{cells}</tr>")
        };
        let rows: String = self.rows.iter().map(|r| line("td", r)).collect();
        format!("<table>{}{rows}</table>", line("th", &self.heads))
    }

    pub(super) fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let rows: String = self.rows.iter().map(|r| line(r)).collect();
        format!("{}|{}\n{rows}", line(&self.heads), "---|".repeat(self.heads.len()))
    }
}

/// Bars of means between 0 and 1 with their deviations; some stand out.
pub(super) fn bar_chart(title: &str, bars: &[(String, (f64, f64))], marked: &[&str]) -> String {
    const LEFT: f64 = 150.0;
    const WIDTH: f64 = 420.0;
    let mut out = format!(
        "<figure><svg width=\"640\" height=\"{}\" role=\"img\" aria-label=\"{}\">",
        bars.len() * 24 + 24,
        escape(title)
    );
    for (i, (name, (mean, deviation))) in bars.iter().enumerate() {
        let (y, x) = (i as f64 * 24.0 + 4.0, LEFT + mean * WIDTH);
        let (low, high) = (x - deviation * WIDTH, x + deviation * WIDTH);
        let _ = write!(
            out,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{LEFT}\" y=\"{y}\" width=\"{:.1}\" height=\"16\" fill=\"{}\"/>\
             <line x1=\"{low:.1}\" x2=\"{high:.1}\" y1=\"{mid}\" y2=\"{mid}\" stroke=\"#d55e00\" stroke-width=\"2\"/>\
             <text x=\"{:.1}\" y=\"{}\">{mean:.3}</text>",
            LEFT - 6.0,
            y + 12.0,
            escape(name),
            mean * WIDTH,
            if marked.contains(&name.as_str()) { "#0072b2" } else { "#8a8a8a" },
            high.max(x) + 6.0,
            y + 12.0,
            mid = y + 8.0,
        );
    }
    let note = "the line is one standard deviation over seeds to each side";
    out + &format!("</svg><figcaption>{}; {note}</figcaption></figure>", escape(title))
}
