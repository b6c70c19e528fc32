//! `VLMEvalKit`'s form: one table, parted by tabs, with pictures in base64.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde_json::{Value, json};

use super::super::{Item, Task};
use super::{Entry, Files, LoadError, Place, Set, mme, note_pictures_alone, wrong};

/// Longest cell that names the row whose picture is meant.
const LONGEST_INDEX: usize = 64;

/// The table of a task, where its folder has one.
pub(super) fn file<'a>(task: Task, files: &'a Files<'_>) -> Option<&'a str> {
    let name = match task {
        Task::Mme => "MME.tsv",
        Task::Gqa => "GQA_TestDev_Balanced.tsv",
        Task::ScienceQa => "ScienceQA_TEST.tsv",
        Task::TextVqa => "TextVQA_VAL.tsv",
        Task::Pope => "POPE.tsv",
        Task::OkVqa | Task::VqaV2 => return None,
    };
    files.named(name)
}

/// A cell: where it is in the text, without its quotation marks, and whether it had any.
#[derive(Clone)]
struct Cell {
    at: Range<usize>,
    quoted: bool,
}

/// A line of the table, which may be several of the file.
struct Row {
    line: usize,
    cells: Vec<Cell>,
}

struct Table {
    name: String,
    text: Arc<String>,
    columns: Vec<String>,
    rows: Vec<Row>,
}

/// The cell that begins at `from`, and where it ends: at a tab, a line's end, or the end of the text; or what is wrong with it.
fn cell(text: &str, from: usize) -> Result<(Cell, usize), &'static str> {
    let bytes = text.as_bytes();
    let end =
        |from: usize| bytes[from..].iter().position(|b| [b'\t', b'\n'].contains(b)).map_or(bytes.len(), |at| from + at);
    if bytes.get(from) != Some(&b'"') {
        let to = end(from);
        return Ok((Cell { at: from..to, quoted: false }, to));
    }
    let mut at = from + 1;
    loop {
        let Some(mark) = bytes[at..].iter().position(|b| *b == b'"') else {
            return Err("a quote is opened there that is never closed");
        };
        at += mark;
        if bytes.get(at + 1) == Some(&b'"') {
            at += 2;
            continue;
        }
        let to = end(at + 1);
        let behind = &text[at + 1..to];
        // A line may end as those of Windows do.
        if !(behind.is_empty() || behind == "\r" && bytes.get(to) != Some(&b'\t')) {
            return Err("there is text behind the closing quote of a cell");
        }
        return Ok((Cell { at: from + 1..at, quoted: true }, to));
    }
}

impl Table {
    fn read(files: &Files<'_>, name: &str) -> Result<Self, LoadError> {
        let text = Arc::new(files.text(name)?);
        let (mut rows, mut at, mut line) = (Vec::new(), 0, 1);
        while at < text.len() {
            let mut row = Row { line, cells: Vec::new() };
            loop {
                let (cell, end) = cell(&text, at).or_else(|what| wrong(format!("{name}, line {line}"), what))?;
                line += text[at..end].matches('\n').count();
                row.cells.push(cell);
                at = end + 1;
                if text.as_bytes().get(end) != Some(&b'\t') {
                    break;
                }
            }
            line += 1;
            let blank = row.cells.len() == 1 && text[row.cells[0].at.clone()].trim().is_empty();
            rows.extend((!blank).then_some(row));
        }
        let mut table = Self { name: name.to_owned(), text, columns: Vec::new(), rows };
        if table.rows.is_empty() {
            return wrong(name, "it is empty");
        }
        let header = table.rows.remove(0);
        table.columns = header.cells.iter().map(|cell| table.value(cell).trim().to_owned()).collect();
        for row in &table.rows {
            if row.cells.len() != table.columns.len() {
                let (have, want) = (row.cells.len(), table.columns.len());
                return wrong(table.place(row), format!("it has {have} cells, and there are {want} columns"));
            }
        }
        Ok(table)
    }

    fn place(&self, row: &Row) -> String {
        format!("{}, line {}", self.name, row.line)
    }

    fn value(&self, cell: &Cell) -> String {
        let raw = &self.text[cell.at.clone()];
        if cell.quoted { raw.replace("\"\"", "\"") } else { raw.trim_end_matches('\r').to_owned() }
    }

    fn column(&self, name: &str) -> Result<usize, LoadError> {
        self.columns.iter().position(|column| column == name).map_or_else(
            || wrong(&self.name, format!("there is no column \"{name}\": its columns are {}", self.columns.join(", "))),
            Ok,
        )
    }

    /// The pictures of all rows.
    fn pictures(&self) -> Result<Vec<Option<Place>>, LoadError> {
        let (index, image) = (self.column("index")?, self.column("image")?);
        let by_index: BTreeMap<String, usize> =
            self.rows.iter().enumerate().map(|(i, row)| (self.value(&row.cells[index]), i)).collect();
        let length = |i: usize| self.rows[i].cells[image].at.len();
        let of = |row: &Row| {
            let cell = &row.cells[image];
            let said = self.text[cell.at.clone()].trim();
            if said.starts_with('[') {
                return wrong(self.place(row), "it has several pictures, and one is read here");
            }
            if said.len() > LONGEST_INDEX {
                return Ok(Some(Place::Cell(Arc::clone(&self.text), cell.at.clone(), self.place(row))));
            }
            if said.is_empty() {
                return Ok(None);
            }
            match by_index.get(said) {
                Some(other) if length(*other) > LONGEST_INDEX => {
                    let other = &self.rows[*other];
                    Ok(Some(Place::Cell(Arc::clone(&self.text), other.cells[image].at.clone(), self.place(other))))
                }
                _ => wrong(self.place(row), format!("its picture is that of row {said}, which is not there")),
            }
        };
        self.rows.iter().map(of).collect()
    }
}

/// The texts of a list as Python writes it.
fn python_list(text: &str) -> Option<Vec<String>> {
    let mut rest = text.trim().strip_prefix('[')?.strip_suffix(']')?.chars().peekable();
    let mut out = Vec::new();
    loop {
        while rest.next_if(|c| c.is_whitespace() || *c == ',').is_some() {}
        let Some(mark) = rest.next() else { return Some(out) };
        if !['\'', '"'].contains(&mark) {
            return None;
        }
        let mut said = String::new();
        loop {
            match rest.next()? {
                c if c == mark => break,
                '\\' => match rest.next()? {
                    'n' => said.push('\n'),
                    't' => said.push('\t'),
                    'r' => said.push('\r'),
                    kind @ ('x' | 'u' | 'U') => {
                        let count = match kind {
                            'x' => 2,
                            'u' => 4,
                            _ => 8,
                        };
                        let digits: String = rest.by_ref().take(count).collect();
                        said.push(char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?);
                    }
                    other => said.push(other),
                },
                c => said.push(c),
            }
        }
        out.push(said);
    }
}

fn yes_or_no(said: &str, place: &str) -> Result<(), LoadError> {
    match said.trim().to_lowercase().as_str() {
        "yes" | "no" => Ok(()),
        _ => wrong(place, format!("the answer is \"{said}\", and is to be Yes or No")),
    }
}

/// The number of the choice that a letter names.
fn choice(said: &str, count: usize, place: &str) -> Result<usize, LoadError> {
    let letter = said.trim().bytes().next().filter(|_| said.trim().len() == 1).unwrap_or(0);
    match usize::from(letter.wrapping_sub(b'A')) {
        at if at < count => Ok(at),
        _ => wrong(place, format!("the answer is \"{said}\", and is to be the letter of one of {count} choices")),
    }
}

pub(super) fn load(task: Task, files: &Files<'_>, name: &str) -> Result<Set, LoadError> {
    let table = Table::read(files, name)?;
    let [index, question, answer] = ["index", "question", "answer"].map(|column| table.column(column));
    let (index, question, answer) = (index?, question?, answer?);
    let mut set = Set::default();
    for (row, picture) in table.rows.iter().zip(table.pictures()?) {
        let place = table.place(row);
        if picture.is_none() && task != Task::ScienceQa {
            return wrong(place, "it has no picture");
        }
        let of = |column: usize| table.value(&row.cells[column]);
        let mut item = Item::new();
        let mut put = |field: &str, value: Value| drop(item.insert(field.to_owned(), value));
        put("question", json!(of(question)));
        let said = of(answer);
        match task {
            Task::Mme => {
                yes_or_no(&said, &place)?;
                let (category, path) = (of(table.column("category")?), of(table.column("image_path")?));
                let file = path.strip_prefix(&format!("{category}_")).unwrap_or(&path);
                put("question_id", json!(format!("{category}/{file}")));
                put("category", json!(category));
                put("answer", json!(said.trim()));
            }
            Task::Pope => {
                yes_or_no(&said, &place)?;
                put("answer", json!(said.trim().to_lowercase()));
                put("question_id", json!(of(index)));
                let path = of(table.column("image_path")?);
                put("image_source", json!(path.strip_suffix(".jpg").unwrap_or(&path)));
                // The same question of several lists is there once.
                for category in of(table.column("category")?).split(',') {
                    let mut item = item.clone();
                    item.insert("category".into(), json!(category.trim()));
                    set.entries.push(Entry { item, picture: picture.clone() });
                }
                continue;
            }
            Task::ScienceQa => {
                put("id", json!(of(index)));
                put("hint", json!(of(table.column("hint")?)));
                put("image", json!(picture.as_ref().map(|_| "picture")));
                let letters = ('A'..='Z').map_while(|letter| table.column(&letter.to_string()).ok());
                let choices: Vec<String> = letters.map(of).take_while(|choice| !choice.is_empty()).collect();
                put("answer", json!(choice(&said, choices.len(), &place)?));
                put("choices", json!(choices));
            }
            Task::TextVqa => {
                put("question_id", json!(of(index)));
                let Some(all) = python_list(&said).filter(|all| !all.is_empty()) else {
                    return wrong(
                        place,
                        format!("the answer is {said}, and is to be a list of texts as Python writes it"),
                    );
                };
                put("answers", json!(all));
            }
            Task::Gqa | Task::OkVqa | Task::VqaV2 => {
                put("id", json!(of(index)));
                put("answer", json!(said));
            }
        }
        set.entries.push(Entry { item, picture });
    }
    match task {
        Task::Mme => mme::check_table(&mut set, name)?,
        Task::ScienceQa => note_pictures_alone(&mut set, name),
        Task::Gqa | Task::OkVqa | Task::TextVqa | Task::Pope | Task::VqaV2 => {}
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_python_writes_them() {
        assert_eq!(python_list(r#"['a', "it's", 'b\'\\\n\x41\u00e9']"#).unwrap(), ["a", "it's", "b'\\\nA\u{e9}"]);
        assert_eq!(python_list(" [] ").unwrap(), [""; 0]);
        assert!(["['a'", "[1]", "a", "['\\uzzzz']"].into_iter().all(|text| python_list(text).is_none()));
    }

    #[test]
    fn cells_may_have_tabs_and_lines() {
        let text = "a\tb\r\n\"x\ty\"\"\nz\"\t1\n\n2\t3";
        let read = |_: &str| Ok(text.as_bytes().to_vec());
        let files = Files::new(["t.tsv".to_owned()], &read);
        let table = Table::read(&files, "t.tsv").unwrap();
        assert_eq!(table.columns, ["a", "b"]);
        let all: Vec<(usize, Vec<String>)> =
            table.rows.iter().map(|row| (row.line, row.cells.iter().map(|c| table.value(c)).collect())).collect();
        assert_eq!(all, [(2, vec!["x\ty\"\nz".to_owned(), "1".to_owned()]), (5, vec!["2".to_owned(), "3".to_owned()])]);
    }
    #[test]
    fn cells_keep_what_is_in_their_quotes_and_nothing_stands_behind() {
        let rows = |text: &str| {
            let bytes = text.as_bytes().to_vec();
            let read = move |_: &str| Ok(bytes.clone());
            let files = Files::new(["t.tsv".to_owned()], &read);
            let table = Table::read(&files, "t.tsv").map_err(|e| e.to_string())?;
            let cells = |row: &Row| row.cells.iter().map(|cell| table.value(cell)).collect::<Vec<_>>();
            Ok::<_, String>(table.rows.iter().map(cells).collect::<Vec<_>>())
        };
        assert_eq!(rows("a\tb\r\n\"x\r\ny\"\t\"z\"\r\n").unwrap(), [["x\r\ny", "z"]]);
        assert_eq!(rows("a\tb\n\"x\"\t\"z\"\r").unwrap(), [["x", "z"]]);
        for text in ["a\tb\n1\t2\n\"x\" y\tz\n", "a\tb\n1\t2\n\"x\"\r\tz\n", "a\tb\n1\t2\nx\t\"y\"z"] {
            let said = rows(text).unwrap_err();
            assert!(said.contains("t.tsv, line 3") && said.contains("behind the closing quote"), "{text:?}: {said}");
        }
    }
}
