//! The page of an evaluation on a published set: one HTML file with everything inside, so that it opens from disk, offline.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::report::{base64, begin, escape};
use crate::data::picture_file::Rgb;
use crate::data::tasks::{Item, Task};

/// Longest side of a picture on the page, pixels.
const SIDE: u32 = 320;
/// Quality of its JPEG file, of 100.
const QUALITY: u8 = 80;

/// An item as the page shows it.
#[allow(missing_docs, reason = "the names say it")]
pub(super) struct Shown<'a> {
    pub(super) item: &'a Item,
    pub(super) prompt: &'a str,
    pub(super) answer: &'a str,
    pub(super) score: f64,
    pub(super) picture: Option<Rgb>,
}

/// Everything on the page.
#[allow(missing_docs, reason = "the names say it")]
pub(super) struct Page<'a> {
    pub(super) task: Task,
    /// Whose rules.
    pub(super) rules: &'a str,
    pub(super) items: usize,
    /// What else is to be known of the run, by name.
    pub(super) facts: &'a [(&'static str, String)],
    pub(super) totals: &'a Map<String, Value>,
    pub(super) notes: &'a [String],
    pub(super) worst: &'a [Shown<'a>],
    pub(super) best: &'a [Shown<'a>],
}

/// What the paper has: the field of our totals, by how much it is to be multiplied, items of the whole set, and the rows of its
/// table: the tower as it was, after pre-training with a flat list of image tokens, and with hierarchical links.
struct Published {
    task: Task,
    field: &'static str,
    times: f64,
    whole: usize,
    rows: [f64; 3],
}

const PUBLISHED: [Published; 4] = [
    Published {
        task: Task::Mme,
        field: "mme_perception_score",
        times: 1.0,
        whole: 2374,
        rows: [1296.0, 1263.0, 1298.0],
    },
    Published { task: Task::Gqa, field: "exact_match", times: 100.0, whole: 12_578, rows: [57.74, 57.69, 58.05] },
    Published { task: Task::OkVqa, field: "exact_match", times: 100.0, whole: 5046, rows: [48.78, 46.19, 51.01] },
    Published { task: Task::ScienceQa, field: "exact_match", times: 100.0, whole: 4241, rows: [62.34, 59.56, 63.12] },
];

/// What is right, in words.
fn reference(task: Task, item: &Item) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if task == Task::ScienceQa {
        let at = item.get("answer").and_then(Value::as_u64).and_then(|at| u8::try_from(at).ok());
        let choice = at.and_then(|at| item.get("choices")?.as_array()?.get(usize::from(at)).map(text));
        return match (at, choice) {
            (Some(at), Some(choice)) => format!("{}. {choice}", char::from(b'A'.saturating_add(at))),
            _ => String::new(),
        };
    }
    let people = item.get("answers").and_then(Value::as_array);
    let Some(people) = people else { return item.get("answer").map(text).unwrap_or_default() };
    let mut counts: Vec<(String, usize)> = Vec::new();
    for said in people.iter().map(|one| text(one.get("answer").unwrap_or(one))) {
        match counts.iter_mut().find(|(other, _)| *other == said) {
            Some((_, count)) => *count += 1,
            None => counts.push((said, 1)),
        }
    }
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let one = |(said, count): &(String, usize)| if *count > 1 { format!("{said} ({count})") } else { said.clone() };
    counts.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn number(value: f64) -> String {
    if value == value.trunc() && value.abs() < 1e9 { format!("{value:.0}") } else { format!("{value:.4}") }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Number(n) if n.is_f64() => number(n.as_f64().unwrap_or(f64::NAN)),
        other => other.as_str().map_or_else(|| other.to_string(), escape),
    }
}

/// Totals of the whole set, and the paper's beside the one that it has.
fn totals(out: &mut String, page: &Page<'_>) {
    out.push_str("<h2>Totals</h2><table><tr><th>total</th><th>here</th></tr>");
    for (name, value) in page.totals.iter().filter(|(_, value)| !value.is_object()) {
        let _ = write!(out, "<tr><td>{}</td><td>{}</td></tr>", escape(name), cell(value));
    }
    out.push_str("</table>");
    let published = PUBLISHED.iter().find(|p| p.task == page.task);
    let Some((p, value)) = published.and_then(|p| Some((p, page.totals.get(p.field)?.as_f64()?))) else { return };
    let _ = write!(
        out,
        "<h2>Beside the paper</h2><table><tr><th>tower</th><th>{}</th></tr>\
         <tr><td>this model</td><td>{:.2}</td></tr><tr class=\"control\"><td>paper: SigLIP as it was</td><td>{:.2}</td></tr>\
         <tr class=\"control\"><td>paper: pre-trained with a flat list</td><td>{:.2}</td></tr>\
         <tr class=\"control\"><td>paper: HIVE</td><td>{:.2}</td></tr></table><p class=\"note\">The paper's are of one language \
         model of 0.5 to 1.2 billion parameters behind each tower, on the whole set{}.</p>",
        escape(p.field),
        value * p.times,
        p.rows[0],
        p.rows[1],
        p.rows[2],
        if page.items < p.whole {
            format!(" of {} items: {} of these say little about it", p.whole, page.items)
        } else {
            String::new()
        },
    );
}

/// A group of totals: bars where each has one number, else a table.
fn group(out: &mut String, name: &str, all: &Map<String, Value>) {
    let _ = write!(out, "<h2>{}</h2><table>", escape(name));
    let numbers: Vec<f64> = all.values().filter_map(Value::as_f64).collect();
    if numbers.len() == all.len() {
        let most = numbers.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        for ((name, _), value) in all.iter().zip(numbers) {
            let _ = write!(
                out,
                "<tr><td>{}</td><td>{}</td><td><svg width=\"240\" height=\"12\" role=\"img\" aria-label=\"{:.0} % of the most\">\
                 <rect width=\"{:.1}\" height=\"12\" fill=\"#0072b2\"/></svg></td></tr>",
                escape(name),
                number(value),
                100.0 * value / most,
                240.0 * (value / most).max(0.0)
            );
        }
    } else {
        let mut columns: Vec<&String> = Vec::new();
        for name in all.values().filter_map(Value::as_object).flat_map(Map::keys) {
            if !columns.contains(&name) {
                columns.push(name);
            }
        }
        let head: String = columns.iter().map(|name| format!("<th>{}</th>", escape(name))).collect();
        let _ = write!(out, "<tr><th></th>{head}</tr>");
        for (name, value) in all {
            let cells: String = columns
                .iter()
                .map(|column| format!("<td>{}</td>", value.get(*column).map(cell).unwrap_or_default()))
                .collect();
            let _ = write!(out, "<tr><td>{}</td>{cells}</tr>", escape(name));
        }
    }
    out.push_str("</table>");
}

/// A small JPEG file of a picture.
fn small(picture: &Rgb) -> Option<Vec<u8>> {
    let (width, height) = (u32::try_from(picture.width).ok()?, u32::try_from(picture.height).ok()?);
    let whole = image::RgbImage::from_raw(width, height, picture.data.clone())?;
    let scale = f64::from(SIDE) / f64::from(width.max(height).max(1));
    let side = |n: u32| ((f64::from(n) * scale.min(1.0)) as u32).max(1);
    let small = image::imageops::thumbnail(&whole, side(width), side(height));
    let mut bytes = Vec::new();
    let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, QUALITY);
    small.write_with_encoder(encoder).ok()?;
    Some(bytes)
}

fn example(out: &mut String, task: Task, shown: &Shown<'_>) {
    out.push_str("<div class=\"example\">");
    if let Some(bytes) = shown.picture.as_ref().and_then(small) {
        let _ = write!(out, "<img alt=\"the picture\" src=\"data:image/jpeg;base64,{}\">", base64(&bytes));
    }
    let class = if shown.score > 0.0 { "right" } else { "wrong" };
    let empty = "<span class=\"note\">(nothing)</span>".to_owned();
    let answer = if shown.answer.trim().is_empty() { empty } else { escape(shown.answer.trim()) };
    let _ = write!(
        out,
        "<p>{}</p><p class=\"{class}\">{answer}</p><p class=\"note\">reference: {}; score {}; {}</p></div>",
        escape(shown.prompt).replace('\n', "<br>"),
        escape(&reference(task, shown.item)),
        number(shown.score),
        escape(&task.key(shown.item)),
    );
}

/// The page.
pub(super) fn html(page: &Page<'_>) -> String {
    let name = page.task.name();
    let mut out = begin(&format!("Hive: {name}"));
    out.push_str("<style>.example img{max-width:100%;display:block}</style>");
    let _ = write!(out, "<h1>{name}, {} items</h1><table>", page.items);
    let rules = ("rules", page.rules.to_owned());
    for (name, value) in std::iter::once(&rules).chain(page.facts) {
        let _ = write!(out, "<tr><td>{name}</td><td>{}</td></tr>", escape(value));
    }
    out.push_str("</table><p class=\"note\">Numbers of two rules are not to be compared.</p>");
    totals(&mut out, page);
    for (name, value) in page.totals {
        if let Some(all) = value.as_object() {
            group(&mut out, name, all);
        }
    }
    if !page.notes.is_empty() {
        out.push_str("<h2>To be known</h2><ul>");
        out.extend(page.notes.iter().map(|note| format!("<li>{}</li>", escape(note))));
        out.push_str("</ul>");
    }
    for (title, all) in [("Wrong answers", page.worst), ("Right answers", page.best)] {
        if !all.is_empty() {
            let _ = write!(out, "<h2>{title}</h2><div class=\"examples\">");
            all.iter().for_each(|shown| example(&mut out, page.task, shown));
            out.push_str("</div>");
        }
    }
    out.push_str("</body></html>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn what_is_right_is_said_in_words() {
        let said = |task, value: Value| reference(task, &object(&value));
        assert_eq!(said(Task::Mme, json!({"answer": "Yes"})), "Yes");
        assert_eq!(said(Task::ScienceQa, json!({"answer": 1, "choices": ["a", "b"]})), "B. b");
        assert_eq!(said(Task::ScienceQa, json!({"answer": 7, "choices": ["a", "b"]})), "");
        assert_eq!(said(Task::OkVqa, json!({"answers": ["cat", "dog", "dog"]})), "dog (2), cat");
        assert_eq!(said(Task::VqaV2, json!({"answer": "x", "answers": [{"answer": "cat"}]})), "cat");
    }

    #[test]
    fn the_page_has_its_numbers_and_nothing_of_others() {
        let item = object(&json!({"question_id": "a/<b>.png", "answer": "Yes"}));
        let picture = Rgb { width: 640, height: 2, data: vec![200; 640 * 2 * 3] };
        let shown = [Shown {
            item: &item,
            prompt: "Is it <red>?\nSay.",
            answer: "<script>",
            score: 0.0,
            picture: Some(picture),
        }];
        let totals = object(&json!({"categories": {"count": 92.5, "OCR": 102.5}, "mme_perception_score": 855.0}));
        let page = Page {
            task: Task::Mme,
            rules: "lmms-eval 0.7.3",
            items: 560,
            facts: &[("model", "<m>".to_owned())],
            totals: &totals,
            notes: &["a note".to_owned()],
            worst: &shown,
            best: &[],
        };
        let text = html(&page);
        for words in [
            "855",
            "1298.00",
            "of 2374 items",
            "102.5000",
            "&lt;script&gt;",
            "Is it &lt;red&gt;?<br>Say.",
            "a note",
            "data:image/jpeg;base64,",
        ] {
            assert!(text.contains(words), "{words} is not in {text}");
        }
        assert!(!text.contains("<script>") && !text.contains("http") && !text.contains("Right answers"), "{text}");
    }
}
