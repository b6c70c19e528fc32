//! `DocTags`, in which models that read pages answer (`SmolDocling`, granite-docling), as Markdown and as HTML.
//!
//! Elements stand in tags, with where they are on the page (`<loc_12>`) before their text; tables are a row of cell marks
//! (OTSL). An answer may be cut off anywhere: what is open ends where it does. Headings, lists, merged cells and captions become
//! what `docling-core` makes of them.

use std::fmt::Write as _;

/// A part of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Block {
    /// Level from 1, and text.
    Heading(usize, String),
    Text(String),
    /// Is it numbered? Its items.
    List(bool, Vec<String>),
    /// Language, where it is said, and lines.
    Code(String, String),
    Formula(String),
    /// Rows of cells.
    Table(Vec<Vec<Cell>>),
    /// A picture, of which only that it is there is known.
    Picture,
}

/// A cell of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Cell {
    text: String,
    header: bool,
    /// Is it a part of the one to the left of it, or above it?
    left: bool,
    above: bool,
}

/// A tag, or text between tags.
enum Piece<'a> {
    Open(&'a str),
    Close(&'a str),
    Text(&'a str),
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let (mut out, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find('<') {
        let named = |name: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "_+#-".contains(c);
            !name.is_empty() && name.len() <= 40 && name.chars().all(plain)
        };
        let tag = rest[at + 1..].split_once('>').map(|(inner, _)| inner);
        let Some(inner) = tag.filter(|inner| named(inner.strip_prefix('/').unwrap_or(inner))) else {
            // A sign of the text.
            let end = at + 1;
            out.push(Piece::Text(&rest[..end]));
            rest = &rest[end..];
            continue;
        };
        if at > 0 {
            out.push(Piece::Text(&rest[..at]));
        }
        out.push(inner.strip_prefix('/').map_or(Piece::Open(inner), Piece::Close));
        rest = &rest[at + 1 + inner.len() + 1..];
    }
    if !rest.is_empty() {
        out.push(Piece::Text(rest));
    }
    out
}

/// Elements that are about the page and not of its text.
const FURNITURE: [&str; 2] = ["page_header", "page_footer"];
/// Elements inside each other at most.
const DEEPEST: usize = 64;
/// Marks of cells.
const CELLS: [&str; 8] = ["fcel", "ecel", "lcel", "ucel", "xcel", "ched", "rhed", "srow"];

/// Reads the parts of a page, one after the other.
#[derive(Default)]
struct Reader {
    blocks: Vec<Block>,
    /// Elements that are open, from outside.
    open: Vec<String>,
    text: String,
    language: String,
    table: Vec<Vec<Cell>>,
}

impl Reader {
    fn inside(&self, name: &str) -> bool {
        self.open.iter().any(|open| open == name)
    }

    fn open(&mut self, name: &str) {
        if name.starts_with("loc_") {
            return;
        }
        if self.inside("otsl") || self.inside("chart") {
            if CELLS.contains(&name) {
                let cell = Cell {
                    text: String::new(),
                    header: ["ched", "rhed", "srow"].contains(&name),
                    left: ["lcel", "xcel"].contains(&name),
                    above: ["ucel", "xcel"].contains(&name),
                };
                match self.table.last_mut() {
                    Some(row) => row.push(cell),
                    None => self.table.push(vec![cell]),
                }
                return;
            }
            if name == "nl" {
                self.table.push(Vec::new());
                return;
            }
        }
        match name {
            "page_break" => self.flush(),
            "checkbox_selected" => self.text.push_str("[x] "),
            "checkbox_unselected" => self.text.push_str("[ ] "),
            // The language of a program: <_Python_>.
            _ if name.starts_with('_') && name.ends_with('_') && name.len() > 2 && self.inside("code") => {
                name[1..name.len() - 1].clone_into(&mut self.language);
            }
            _ => {
                if !self.inside("list_item") {
                    self.flush();
                }
                match name {
                    "picture" => self.blocks.push(Block::Picture),
                    "unordered_list" => self.blocks.push(Block::List(false, Vec::new())),
                    "ordered_list" => self.blocks.push(Block::List(true, Vec::new())),
                    _ => {}
                }
                // Deeper ones are none of a page.
                if self.open.len() < DEEPEST {
                    self.open.push(name.to_owned());
                }
            }
        }
    }

    fn close(&mut self, name: &str) {
        let Some(at) = self.open.iter().rposition(|open| open == name) else { return };
        self.flush();
        self.open.truncate(at);
    }

    fn text(&mut self, text: &str) {
        let cell = self.table.last_mut().and_then(|row| row.last_mut());
        match cell.filter(|_| self.open.iter().any(|open| open == "otsl" || open == "chart")) {
            Some(cell) => cell.text.push_str(text),
            None => self.text.push_str(text),
        }
    }

    /// Ends the element that is open with what was read of it.
    fn flush(&mut self) {
        let text = std::mem::take(&mut self.text);
        let plain = text.trim();
        let rows: Vec<Vec<Cell>> = std::mem::take(&mut self.table).into_iter().filter(|row| !row.is_empty()).collect();
        if !rows.is_empty() {
            self.blocks.push(Block::Table(rows));
            return;
        }
        let furniture = FURNITURE.iter().any(|name| self.inside(name));
        // What a picture is said to be, in a tag of its own, is no text of the page.
        if plain.is_empty() || furniture {
            return;
        }
        let name = self.open.last().map_or("", String::as_str);
        let level = name.strip_prefix("section_header_level_").and_then(|n| n.parse::<usize>().ok());
        let block = match (name, level) {
            (_, Some(level)) => Block::Heading((level + 1).min(6), one_line(plain)),
            ("title", _) => Block::Heading(1, one_line(plain)),
            ("section_header", _) => Block::Heading(2, one_line(plain)),
            ("code", _) => Block::Code(std::mem::take(&mut self.language), text.trim_matches('\n').to_owned()),
            ("formula", _) => Block::Formula(plain.to_owned()),
            ("list_item", _) => {
                let item = one_line(plain);
                match self.blocks.last_mut() {
                    Some(Block::List(_, items)) => items.push(item),
                    _ => self.blocks.push(Block::List(false, vec![item])),
                }
                return;
            }
            _ => Block::Text(one_line(plain)),
        };
        // A caption stands in its table or picture, and is read before it.
        let of = self.blocks.last().is_some_and(|last| matches!(last, Block::Table(_) | Block::Picture));
        let at = self.blocks.len() - usize::from(name == "caption" && self.open.len() > 1 && of);
        self.blocks.insert(at, block);
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn blocks(text: &str) -> Vec<Block> {
    let mut reader = Reader::default();
    for piece in pieces(text) {
        match piece {
            Piece::Open(name) => reader.open(name),
            Piece::Close(name) => reader.close(name),
            Piece::Text(text) => reader.text(text),
        }
    }
    reader.flush();
    let empty = |block: &Block| matches!(block, Block::List(_, items) if items.is_empty());
    reader.blocks.into_iter().filter(|block| !empty(block)).collect()
}

/// A page as Markdown. Headers and footers of the page are left out; a picture is a comment.
#[must_use]
pub fn markdown(text: &str) -> String {
    let mut out = Vec::new();
    for block in blocks(text) {
        out.push(match block {
            Block::Heading(level, text) => format!("{} {text}", "#".repeat(level)),
            Block::Text(text) => text,
            Block::List(numbered, items) => {
                let item = |(i, item): (usize, &String)| {
                    if numbered { format!("{}. {item}", i + 1) } else { format!("- {item}") }
                };
                items.iter().enumerate().map(item).collect::<Vec<_>>().join("\n")
            }
            Block::Code(language, lines) => format!("```{}\n{lines}\n```", language.to_lowercase()),
            Block::Formula(text) => format!("$${text}$$"),
            Block::Table(rows) => table(&rows),
            Block::Picture => "<!-- image -->".to_owned(),
        });
    }
    out.join("\n\n") + if out.is_empty() { "" } else { "\n" }
}

/// A table whose first row is its head, as Markdown has them; cells that are parts of others repeat what these say.
fn table(rows: &[Vec<Cell>]) -> String {
    let width = rows.iter().map(Vec::len).max().unwrap_or(0);
    let mut texts: Vec<Vec<String>> = Vec::new();
    for row in rows {
        let mut line: Vec<String> = Vec::new();
        for (i, cell) in row.iter().enumerate() {
            let text = if cell.left {
                line.last().cloned().unwrap_or_default()
            } else if cell.above {
                texts.last().and_then(|above| above.get(i)).cloned().unwrap_or_default()
            } else {
                one_line(&cell.text).replace('|', "\\|")
            };
            line.push(text);
        }
        line.resize(width, String::new());
        texts.push(line);
    }
    let line = |row: &[String]| format!("| {} |", row.join(" | "));
    let mut lines: Vec<String> = texts.iter().map(|row| line(row)).collect();
    lines.insert(1.min(lines.len()), format!("|{}", "---|".repeat(width)));
    lines.join("\n")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A page as the inside of an HTML document's body.
#[must_use]
pub fn html(text: &str) -> String {
    let mut out = String::new();
    for block in blocks(text) {
        let _ = match block {
            Block::Heading(level, text) => writeln!(out, "<h{level}>{}</h{level}>", escape(&text)),
            Block::Text(text) => writeln!(out, "<p>{}</p>", escape(&text)),
            Block::List(numbered, items) => {
                let name = if numbered { "ol" } else { "ul" };
                let items: String = items.iter().map(|item| format!("<li>{}</li>\n", escape(item))).collect();
                writeln!(out, "<{name}>\n{items}</{name}>")
            }
            Block::Code(_, lines) => writeln!(out, "<pre><code>{}</code></pre>", escape(&lines)),
            Block::Formula(text) => writeln!(out, "<p>$${}$$</p>", escape(&text)),
            Block::Table(rows) => writeln!(out, "{}", html_table(&rows)),
            Block::Picture => writeln!(out, "<figure></figure>"),
        };
    }
    out
}

/// How many cells from `start` on `is` part of the one before them.
fn span<'a>(cells: impl Iterator<Item = Option<&'a Cell>>, is: impl Fn(&Cell) -> bool) -> usize {
    1 + cells.take_while(|cell| cell.is_some_and(&is)).count()
}

fn html_table(rows: &[Vec<Cell>]) -> String {
    let mut out = String::from("<table>\n");
    for (r, row) in rows.iter().enumerate() {
        out.push_str("<tr>");
        for (c, cell) in row.iter().enumerate().filter(|(_, cell)| !cell.left && !cell.above) {
            let name = if cell.header { "th" } else { "td" };
            let across = span(row[c + 1..].iter().map(Some), |cell| cell.left && !cell.above);
            let down = span(rows[r + 1..].iter().map(|row| row.get(c)), |cell| cell.above && !cell.left);
            let wide = if across > 1 { format!(" colspan=\"{across}\"") } else { String::new() };
            let high = if down > 1 { format!(" rowspan=\"{down}\"") } else { String::new() };
            let _ = write!(out, "<{name}{wide}{high}>{}</{name}>", escape(&one_line(&cell.text)));
        }
        out.push_str("</tr>\n");
    }
    out + "</table>"
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "<doctag><page_header><loc_1><loc_2>Journal 7</page_header><title>On <b ducks</title>\
<section_header_level_1><loc_10><loc_20><loc_30><loc_40>Introduction</section_header_level_1>\
<text><loc_1><loc_2>Two  ducks
& a fox.</text><unordered_list><list_item><loc_5>one</list_item><list_item>two</list_item></unordered_list>\
<ordered_list><list_item>first</list_item></ordered_list><code><loc_1><_Python_>def f(x):
    return x < 2</code><formula>x^{2}</formula><picture><loc_1><loc_2><other></picture>\
<otsl><loc_9><ched>Year<ched>Ducks<lcel><nl><rhed>2024<fcel>1|2<ecel><nl><ucel><fcel>3<fcel>4<nl><caption><loc_3>Table 1</caption></otsl>\
<picture><caption>Figure 1</caption></picture><text>cut off";

    #[test]
    fn a_page_becomes_markdown() {
        let want = "# On <b ducks

## Introduction

Two ducks & a fox.

- one
- two

1. first

```python
def f(x):
    return x < 2
```

$$x^{2}$$

<!-- image -->

Table 1

| Year | Ducks | Ducks |
|---|---|---|
| 2024 | 1\\|2 |  |
| 2024 | 3 | 4 |

Figure 1

<!-- image -->

cut off
";
        assert_eq!(markdown(PAGE), want);
        assert_eq!((markdown(""), markdown("no tags, 1 < 2")), (String::new(), "no tags, 1 < 2\n".to_owned()));
    }

    #[test]
    fn a_page_becomes_html() {
        let made = html(PAGE);
        for part in [
            "<h1>On &lt;b ducks</h1>",
            "<h2>Introduction</h2>",
            "<p>Two ducks &amp; a fox.</p>",
            "<ul>\n<li>one</li>\n<li>two</li>\n</ul>",
            "<pre><code>def f(x):\n    return x &lt; 2</code></pre>",
            "<tr><th>Year</th><th colspan=\"2\">Ducks</th></tr>",
            "<tr><th rowspan=\"2\">2024</th><td>1|2</td><td></td></tr>\n<tr><td>3</td><td>4</td></tr>",
            "<p>cut off</p>",
        ] {
            assert!(made.contains(part), "{part} is not in {made}");
        }
        assert!(!made.contains("Journal"));
    }

    #[test]
    fn what_is_no_page_ends() {
        for text in
            ["<otsl><nl><nl></otsl>", "</otsl></doctag>", "<<<>>>", "<list_item>x", "<fcel>a<nl>", "<code><_>x</code>"]
        {
            drop((markdown(text), html(text)));
        }
        let deep = "<text>".repeat(50_000);
        assert_eq!(markdown(&deep), "");
    }
}
