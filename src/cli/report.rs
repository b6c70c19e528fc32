//! Reports of the demo and of training on a folder: one HTML file with everything inside, so that it opens from disk, offline.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::train::depths::Depths;
use crate::train::evaluate::{Label, Picture, Scores, Share};
use crate::train::recipe::Preset;
use crate::train::run::Run;
use crate::train::source::LeftOut;
use crate::train::stage::Stage;

/// Attention over the picture's patches by linked layer.
pub(super) type Maps = Vec<(String, Vec<f32>)>;

/// What one stage left.
pub(super) struct StageCurves {
    pub(super) stage: Stage,
    /// Step and loss.
    pub(super) losses: Vec<(u64, f32)>,
    /// Step and gradient norm by module.
    pub(super) norms: Vec<(u64, Vec<(String, f32)>)>,
}

/// A question with its picture and answers.
#[allow(missing_docs, reason = "the names say it")]
pub(super) struct Example {
    pub(super) png: Vec<u8>,
    pub(super) question: String,
    pub(super) right: String,
    pub(super) before: String,
    pub(super) after: String,
    /// Where the answer's first word looked.
    pub(super) maps: Maps,
}

/// Everything on the page.
#[allow(missing_docs, reason = "the names say it")]
pub(super) struct Page<'a> {
    pub(super) preset: &'a Preset,
    pub(super) adapter: String,
    /// How long, seconds.
    pub(super) secs: f64,
    pub(super) scores: &'a [(Label, Scores)],
    pub(super) curves: &'a [StageCurves],
    /// Of the tower at some time.
    pub(super) depths: &'a [(&'static str, Depths)],
    pub(super) examples: &'a [Example],
}

/// Colours that people with any colour vision tell apart (after Okabe and Ito).
const COLOURS: [&str; 8] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444", "#8a6d00"];

const STYLE: &str = "
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}
h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2.5rem}
table{border-collapse:collapse}td,th{padding:.25rem .5rem;font-size:.85rem;text-align:right;border-bottom:1px solid #ddd}
td:first-child,th:first-child{text-align:left;white-space:nowrap}tr.control td{color:#777}
.examples{display:grid;grid-template-columns:repeat(auto-fill,minmax(29rem,1fr));gap:1.5rem}
.example{border:1px solid #ddd;border-radius:.5rem;padding:1rem}.right{color:#00694d;font-weight:600}.wrong{color:#a33c00;font-weight:600}
figure{display:inline-block;margin:.3rem .3rem .3rem 0;vertical-align:top}.example figure{width:80px}figcaption{font-size:.8rem;color:#555}
svg text{font:11px system-ui,sans-serif;fill:#444}.note{color:#555;font-size:.9rem}
@media(prefers-color-scheme:dark){body{color:#e8e8e8;background:#161616}td,th,.example{border-color:#444}svg text{fill:#bbb}
figcaption,.note{color:#aaa}tr.control td{color:#999}.right{color:#5fd0a8}.wrong{color:#ff9a62}}
";

/// A page up to the first words of its body.
pub(super) fn begin(title: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{}</title><style>{STYLE}</style></head><body>",
        escape(title)
    )
}

pub(super) fn html(page: &Page<'_>) -> String {
    let mut out = begin(&format!("Hive: {}", page.preset.name));
    let _ = write!(
        out,
        "<h1>Hive: three stages on {name}</h1><p>{about}</p><p class=\"note\">{adapter}; {secs:.0} s; seed {seed}</p>",
        name = escape(&page.preset.name),
        about = escape(&page.preset.about),
        adapter = escape(&page.adapter),
        secs = page.secs,
        seed = page.preset.seed,
    );
    out.push_str(
        "<h2>What each stage did</h2><p>Share of held-out questions answered exactly. <em>Pictures swapped</em>: the same \
         model looks at another question's picture. What it still gets right then, it knows from the language alone.</p>",
    );
    out.push_str(&score_table(page.scores));
    if !page.depths.is_empty() {
        out.push_str(
            "<h2>Where the answers live</h2><p>For each depth of the tower, how often a small probe reads an attribute of a \
             thing right: its name, the colour and the stripes of its ground, the way it faces, its size. A tower that was \
             taught to name keeps names on its way up and drops the rest, so a link to one depth cannot answer everything.</p>",
        );
        page.depths.iter().for_each(|(when, found)| out.push_str(&depth_table(when, found, page.preset)));
    }
    out.push_str(
        "<h2>Six questions</h2><p>Held-out pictures, with the answer before stage 1 and after stage 3. The maps show where \
         each linked layer looks while it writes the first word of the answer (mean over heads; bright is more; attention is \
         where a model looks, not always why it answers).</p><div class=\"examples\">",
    );
    page.examples.iter().for_each(|e| out.push_str(&example(e)));
    out.push_str("</div>");
    out.push_str(&losses(page.curves));
    out.push_str(
        "<h2>Gradient norms</h2><p>Which part of the model a stage moves. A part that is frozen has no line.</p>",
    );
    for c in page.curves {
        out.push_str(&chart(&format!("stage {}", c.stage.number()), &norm_lines(c)));
    }
    out.push_str("</body></html>\n");
    out
}

/// The page of a training on a user's folder.
#[allow(missing_docs, reason = "the names say it")]
pub(super) struct FolderPage<'a> {
    pub(super) adapter: String,
    /// How long, seconds.
    pub(super) secs: f64,
    pub(super) run: &'a Run,
    pub(super) curves: &'a [StageCurves],
    /// What of the data is used otherwise than it stands there.
    pub(super) notes: Vec<String>,
    pub(super) left_out: &'a LeftOut,
}

impl FolderPage<'_> {
    pub(super) fn html(&self) -> String {
        let name = escape(&self.run.preset.name);
        let mut out = begin(&format!("Hive: {name} on your pictures"));
        let _ = write!(
            out,
            "<h1>Hive: {name} on your pictures</h1><p class=\"note\">{}; {:.0} s; seed {}</p><h2>What each stage did</h2>",
            escape(&self.adapter),
            self.secs,
            self.run.preset.seed
        );
        if self.run.source.held_out_size() == 0 {
            out.push_str("<p>Nothing is held out, so that nothing can be said of accuracy.</p>");
        } else {
            out.push_str("<p>Share of held-out questions answered exactly.</p>");
            out.push_str(&score_table(&self.run.scores));
        }
        let LeftOut { entries, of, first } = self.left_out;
        let _ = write!(
            out,
            "<h2>The data</h2><p>{} of {of} entries are used, {entries} are left out.</p><ul>",
            of - entries
        );
        for said in self.notes.iter().chain(first) {
            let _ = write!(out, "<li>{}</li>", escape(said));
        }
        out.push_str("</ul>");
        out.push_str(&losses(self.curves));
        out.push_str("</body></html>\n");
        out
    }
}

fn losses(curves: &[StageCurves]) -> String {
    let mut out = "<h2>Loss</h2>".to_owned();
    for c in curves {
        let points: Vec<_> = c.losses.iter().map(|(s, l)| (*s as f64, f64::from(*l))).collect();
        let title = format!("stage {}: {}", c.stage.number(), c.stage.name());
        out.push_str(&chart(&title, &[("loss".to_owned(), smooth(&points))]));
    }
    out
}

/// A share in a table; a dash where nothing was asked.
fn cell(share: Option<&Share>) -> String {
    share.filter(|s| s.of > 0).map_or("–".to_owned(), |s| format!("{:.2}", s.value()))
}

fn score_table(scores: &[(Label, Scores)]) -> String {
    let kinds: Vec<String> = scores.first().map_or(Vec::new(), |(_, s)| s.kinds.keys().cloned().collect());
    let mut out = "<table><tr><th></th><th>all</th><th>several things</th>".to_owned();
    kinds.iter().for_each(|k| {
        let _ = write!(out, "<th>{}</th>", escape(k));
    });
    out.push_str("</tr>");
    for (label, s) in scores {
        let class = if label.stage.is_some() && label.picture == Picture::Own { "" } else { " class=\"control\"" };
        let _ = write!(
            out,
            "<tr{class}><td>{}</td><td>{}</td><td>{}</td>",
            escape(&label.to_string()),
            cell(Some(&s.all)),
            cell(Some(&s.several))
        );
        for k in &kinds {
            let _ = write!(out, "<td>{}</td>", cell(s.kinds.get(k)));
        }
        out.push_str("</tr>");
    }
    out + "</table>"
}

/// Darker is further above guessing.
fn depth_table(when: &str, found: &Depths, preset: &Preset) -> String {
    let mut out = format!("<h3>The tower {when} training</h3><table><tr><th></th>");
    found.attributes.iter().for_each(|(name, _)| {
        let _ = write!(out, "<th>{}</th>", escape(name));
    });
    out.push_str("<th>read by</th></tr>");
    let links = &preset.model.link_config;
    for (depth, shares) in found.shares.iter().enumerate() {
        let _ = write!(out, "<tr><td>depth {depth}</td>");
        for (share, (_, guess)) in shares.iter().zip(&found.attributes) {
            let above = ((share - guess) / (1.0 - guess)).clamp(0.0, 1.0);
            let _ = write!(out, "<td style=\"background:rgb(0 114 178/{:.2})\">{share:.2}</td>", above * 0.6);
        }
        let layers = links.language_layers.iter().zip(&links.vision_layers).filter(|(_, d)| **d == depth);
        let layers: Vec<String> = layers.map(|(layer, _)| format!("layer {}", layer + 1)).collect();
        let _ = write!(out, "<td>{}</td></tr>", layers.join(", "));
    }
    out.push_str("<tr class=\"control\"><td>guessed</td>");
    found.attributes.iter().for_each(|(_, guess)| {
        let _ = write!(out, "<td>{guess:.2}</td>");
    });
    out + "<td></td></tr></table>"
}

pub(super) fn example(e: &Example) -> String {
    let picture = format!("data:image/png;base64,{}", base64(&e.png));
    let verdict = |answer: &str| if answer == e.right { "right" } else { "wrong" };
    let said = |answer: &str| if answer.is_empty() { "(no word)".to_owned() } else { escape(answer) };
    let mut out = format!(
        "<div class=\"example\"><div>{}</div><div>before: <span class=\"{}\">{}</span></div>\
         <div>after: <span class=\"{}\">{}</span></div><div>right: {}</div>\
         <figure><svg width=\"80\" height=\"80\" viewBox=\"0 0 1 1\">{}</svg><figcaption>picture</figcaption></figure>",
        escape(&e.question),
        verdict(&e.before),
        said(&e.before),
        verdict(&e.after),
        said(&e.after),
        escape(&e.right),
        image(&picture),
    );
    for (layer, map) in &e.maps {
        let side = map.len().isqrt().max(1);
        let top = map.iter().fold(1e-9_f32, |m, v| m.max(*v));
        let total: f32 = map.iter().sum();
        let _ = write!(
            out,
            "<figure><svg width=\"80\" height=\"80\" viewBox=\"0 0 1 1\" shape-rendering=\"crispEdges\">{}",
            image(&picture)
        );
        for (i, v) in map.iter().enumerate() {
            let (x, y, w) = ((i % side) as f64 / side as f64, (i / side) as f64 / side as f64, 1.0 / side as f64);
            let _ = write!(
                out,
                "<rect x=\"{x:.4}\" y=\"{y:.4}\" width=\"{w:.4}\" height=\"{w:.4}\" fill=\"{}\" fill-opacity=\"0.72\"/>",
                viridis(v / top)
            );
        }
        let _ = write!(out, "</svg><figcaption>{layer}: {:.0} % on the picture</figcaption></figure>", total * 100.0);
    }
    out + "</div>"
}

fn image(href: &str) -> String {
    format!("<image href=\"{href}\" width=\"1\" height=\"1\" style=\"image-rendering:pixelated\"/>")
}

/// A perceptually even scale from dark violet to yellow, by five stops.
fn viridis(v: f32) -> String {
    const STOPS: [[f32; 3]; 5] =
        [[68.0, 1.0, 84.0], [59.0, 82.0, 139.0], [33.0, 145.0, 140.0], [94.0, 201.0, 98.0], [253.0, 231.0, 37.0]];
    let at = v.clamp(0.0, 1.0) * 4.0;
    let (i, t) = ((at as usize).min(3), at - (at as usize).min(3) as f32);
    let c: Vec<u8> = (0..3).map(|k| (STOPS[i][k] + (STOPS[i + 1][k] - STOPS[i][k]) * t) as u8).collect();
    format!("#{:02x}{:02x}{:02x}", c[0], c[1], c[2])
}

/// Means of at most 200 runs of neighbours: a long curve stays readable and small.
fn smooth(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let size = points.len().div_ceil(200).max(1);
    let mean = |run: &[(f64, f64)]| {
        let n = run.len() as f64;
        (run.iter().map(|p| p.0).sum::<f64>() / n, run.iter().map(|p| p.1).sum::<f64>() / n)
    };
    points.chunks(size).map(mean).collect()
}

fn norm_lines(c: &StageCurves) -> Vec<(String, Vec<(f64, f64)>)> {
    let mut lines: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
    for (step, norms) in &c.norms {
        for (module, norm) in norms {
            let point = (*step as f64, f64::from(*norm));
            match lines.iter_mut().find(|(m, _)| m == module) {
                Some((_, points)) => points.push(point),
                None => lines.push((module.clone(), vec![point])),
            }
        }
    }
    lines
}

/// A line chart with axes from the data and a legend.
pub(super) fn chart(title: &str, lines: &[(String, Vec<(f64, f64)>)]) -> String {
    const W: f64 = 640.0;
    const H: f64 = 200.0;
    let all = || lines.iter().flat_map(|(_, p)| p.iter().copied()).filter(|p| p.1.is_finite());
    let (right, top) = all().fold((1.0_f64, 1e-9_f64), |(x, y), p| (x.max(p.0), y.max(p.1)));
    let place = |p: &(f64, f64)| (40.0 + p.0 / right * (W - 50.0), H - 20.0 - p.1 / top * (H - 40.0));
    let mut out = format!(
        "<figure><svg width=\"{W}\" height=\"{}\" role=\"img\" aria-label=\"{}\"><text x=\"40\" y=\"14\">{}</text>\
         <line x1=\"40\" y1=\"{}\" x2=\"{W}\" y2=\"{}\" stroke=\"#999\"/><text x=\"40\" y=\"{}\">0</text>\
         <text x=\"{}\" y=\"{}\" text-anchor=\"end\">step {right:.0}</text><text x=\"36\" y=\"30\" text-anchor=\"end\">{top:.2}</text>\
         <text x=\"36\" y=\"{}\" text-anchor=\"end\">0</text>",
        H + 16.0 * lines.len().div_ceil(4) as f64,
        escape(title),
        escape(title),
        H - 20.0,
        H - 20.0,
        H - 6.0,
        W - 4.0,
        H - 6.0,
        H - 20.0,
    );
    for (i, (label, points)) in lines.iter().enumerate() {
        let colour = COLOURS[i % COLOURS.len()];
        let dash = if i >= COLOURS.len() { " stroke-dasharray=\"4 3\"" } else { "" };
        let path: Vec<String> = points
            .iter()
            .filter(|p| p.1.is_finite())
            .map(|p| {
                let (x, y) = place(p);
                format!("{x:.1},{y:.1}")
            })
            .collect();
        let (x, y) = (44.0 + 150.0 * (i % 4) as f64, H + 10.0 + 16.0 * (i / 4) as f64);
        let _ = write!(
            out,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"{dash} points=\"{}\"/>\
             <line x1=\"{x}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" stroke=\"{colour}\" stroke-width=\"3\"{dash}/><text x=\"{}\" y=\"{y}\">{}</text>",
            path.join(" "),
            y - 4.0,
            x + 14.0,
            y - 4.0,
            x + 18.0,
            escape(label),
        );
    }
    out + "</svg></figure>"
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_known_words() {
        for (text, want) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(text.as_bytes()), want);
        }
    }

    #[test]
    fn text_is_escaped_and_curves_shrink() {
        assert_eq!(escape("<a \"b\">"), "&lt;a &quot;b&quot;&gt;");
        assert_eq!(smooth(&(0..1000).map(|i| (f64::from(i), 1.0)).collect::<Vec<_>>()).len(), 200);
        assert_eq!(viridis(0.0), "#440154");
        assert_eq!(viridis(1.0), "#fde725");
    }
}
