//! lmms-lab's form: tables in Parquet's format, in one file or several, with pictures as bytes in their rows. Pictures are read
//! one by one when they are wanted: a table of them can be larger than memory.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::io::{BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::Compression;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::ByteArrayType;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, FileReader as _, Length, SerializedFileReader};
use parquet::schema::types::Type;
use serde_json::{Value, json};

use super::super::{Item, Task, shown};
use super::columns::{Want, child, is_json, json_of, kind_of};
use super::json::{check_choice, take_answers, text};
use super::shards::{none, shards, tables};
use super::{Entry, Files, LoadError, Place, Set, mme, note_pictures_alone, pointer, wrong};
use crate::data::disguise::is_pointer;
use crate::data::rng::{hash_bytes, splitmix64};
use crate::platform::{Blob, block_on};

/// How a file begins and ends.
const MAGIC: &[u8] = b"PAR1";
/// Bytes at its beginning that tell a pointer, and at its end that tell one file from another.
const HEAD: u64 = 64;
const TAIL: u64 = 1 << 16;
/// The column of pictures.
const IMAGE: &str = "image";
/// Pictures that are held at once where it is looked for those that are missing.
const AT_ONCE: usize = 16;
/// Characters of what the library says of a broken file: it may quote all of it.
const SAID: usize = 200;

/// What a file is read from.
struct Source(Blob);

impl Length for Source {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

fn part(blob: &Blob, start: u64, len: usize) -> Result<Vec<u8>, ParquetError> {
    block_on(blob.read(start, len)).map_err(ParquetError::General)
}

/// A file from somewhere on.
struct Rest(Blob, u64);

impl Read for Rest {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let left = self.0.len().saturating_sub(self.1);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(out.len());
        let bytes = block_on(self.0.read(self.1, len)).map_err(std::io::Error::other)?;
        out[..len].copy_from_slice(&bytes);
        self.1 += len as u64;
        Ok(len)
    }
}

impl ChunkReader for Source {
    type T = BufReader<Rest>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(BufReader::new(Rest(self.0.clone(), start)))
    }

    fn get_bytes(&self, start: u64, len: usize) -> Result<Bytes, ParquetError> {
        Ok(part(&self.0, start, len)?.into())
    }
}

/// What the library gives of a file, whatever is wrong with that.
fn guarded<T>(name: &str, f: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, LoadError> {
    // The library asserts things of files that a broken one has not.
    let said = match catch_unwind(AssertUnwindSafe(f)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(e)) => e.to_string().chars().take(SAID).collect(),
        Err(_panic) => "what it says of itself does not fit together".to_owned(),
    };
    wrong(name, format!("it is no Parquet file that can be read: {said}. Copy or download it again"))
}

/// A file of a table.
struct Table {
    name: String,
    reader: SerializedFileReader<Source>,
    /// Changes with all that the file has.
    fingerprint: u64,
    /// Which of all columns has the bytes of pictures, where there is one.
    pictures: Option<usize>,
}

/// A picture in a table.
#[derive(Clone)]
pub struct Row {
    table: Arc<Table>,
    group: usize,
    /// In the group.
    at: usize,
    name: String,
    source: String,
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        (self.table.fingerprint, self.group, self.at, &self.name)
            == (other.table.fingerprint, other.group, other.at, &other.name)
    }
}

impl Eq for Row {}

impl Row {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn source(&self) -> &str {
        &self.source
    }

    pub(super) fn fingerprint(&self) -> u64 {
        splitmix64(self.table.fingerprint ^ splitmix64(((self.group as u64) << 32) | self.at as u64))
    }

    pub(super) fn bytes(&self) -> Result<Vec<u8>, LoadError> {
        let read = || {
            let mut column = self.table.column(self.group)?;
            column.skip_records(self.at)?;
            let (mut values, mut levels) = (Vec::new(), Vec::new());
            column.read_records(1, Some(&mut levels), None, &mut values)?;
            Ok(values.pop())
        };
        match guarded(&self.name, read)? {
            Some(bytes) => Ok(bytes.data().to_vec()),
            None => wrong(&self.name, "its picture is not there any more"),
        }
    }
}

impl Table {
    fn open(files: &Files<'_>, name: &str) -> Result<Self, LoadError> {
        let blob = files.blob(name)?;
        let len = blob.len();
        let read = |start: u64, end: u64| {
            block_on(blob.read(start, (end - start) as usize))
                .or_else(|e| wrong(name, format!("it cannot be read: {e}")))
        };
        let head = read(0, len.min(HEAD))?;
        if is_pointer(&head) {
            return pointer(name);
        }
        let tail = read(len.saturating_sub(TAIL), len)?;
        if !head.starts_with(MAGIC) {
            return wrong(name, "it is no Parquet file: it does not begin as one");
        }
        if !tail.ends_with(MAGIC) || len < 2 * MAGIC.len() as u64 {
            return wrong(name, "it is cut off: the end of a Parquet file is missing. Copy or download it again");
        }
        let fingerprint = splitmix64(hash_bytes(&tail) ^ len);
        let reader = guarded(name, || SerializedFileReader::new(Source(blob)))?;
        let read =
            |kind: &Compression| matches!(kind, Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::ZSTD(_));
        let chunks = reader.metadata().row_groups().iter().flat_map(|group| group.columns());
        if let Some(other) = chunks.map(|chunk| chunk.compression()).find(|kind| !read(kind)) {
            return wrong(
                name,
                format!("it is compressed with {other}, and Snappy and Zstandard are read: write it with one of them"),
            );
        }
        let columns = reader.metadata().file_metadata().schema_descr().columns();
        let pictures = columns.iter().position(|column| column.path().parts() == [IMAGE, "bytes"]);
        Ok(Self { name: name.to_owned(), reader, fingerprint, pictures })
    }

    fn schema(&self) -> &Type {
        self.reader.metadata().file_metadata().schema()
    }

    fn check(&self, wants: &[(&str, Want)]) -> Result<(), LoadError> {
        for (name, want) in wants {
            let Some(found) = child(self.schema(), name) else {
                let all: Vec<&str> = self.schema().get_fields().iter().map(|field| field.name()).collect();
                let all = all.join(", ");
                return wrong(&self.name, format!("there is no column \"{name}\": its columns are {all}"));
            };
            if !want.fits(found) {
                let (found, want) = (kind_of(found), want.name());
                return wrong(&self.name, format!("the column \"{name}\" is {found}, and is to be {want}"));
            }
        }
        Ok(())
    }

    /// The bytes of the pictures of a group of rows.
    fn column(&self, group: usize) -> Result<ColumnReaderImpl<ByteArrayType>, ParquetError> {
        let none = || ParquetError::General("it has no pictures".to_owned());
        let column = self.reader.get_row_group(group)?.get_column_reader(self.pictures.ok_or_else(none)?)?;
        match column {
            ColumnReader::ByteArrayColumnReader(column) => Ok(column),
            _ => Err(none()),
        }
    }

    /// Which rows of a group have a picture's bytes; none: all have.
    fn present(&self, group: usize) -> Result<Option<Vec<bool>>, ParquetError> {
        let Some(at) = self.pictures else { return Ok(Some(Vec::new())) };
        let about = self.reader.metadata().row_group(group).column(at);
        let most = about.column_descr().max_def_level();
        if most == 0 || about.statistics().and_then(|s| s.null_count_opt()) == Some(0) {
            return Ok(None);
        }
        let (mut column, mut levels, mut values) = (self.column(group)?, Vec::new(), Vec::new());
        while column.read_records(AT_ONCE, Some(&mut levels), None, &mut values)?.0 > 0 {
            values.clear();
        }
        Ok(Some(levels.into_iter().map(|level| level == most).collect()))
    }

    /// What is read of each row at once: all of its columns that have a form in JSON, and of pictures the paths.
    fn projection(&self) -> Result<Type, ParquetError> {
        let mut fields = Vec::new();
        for field in self.schema().get_fields() {
            if field.name() != IMAGE {
                fields.extend(is_json(field).then(|| Arc::clone(field)));
            } else if let Some(path) = child(field, "path").filter(|path| kind_of(path) == "string") {
                let group = Type::group_type_builder(IMAGE).with_repetition(field.get_basic_info().repetition());
                fields.push(Arc::new(group.with_fields(vec![Arc::clone(path)]).build()?));
            }
        }
        Type::group_type_builder(self.schema().name()).with_fields(fields).build()
    }
}

/// A row of a table as it was read.
struct Line {
    item: Item,
    /// Group, and place in it.
    at: [usize; 2],
    present: bool,
    path: Option<String>,
    place: String,
}

/// All rows of a file.
fn lines(table: &Table) -> Result<Vec<Line>, LoadError> {
    guarded(&table.name, || {
        let mut all = Vec::new();
        let projection = table.projection()?;
        for group in 0..table.reader.num_row_groups() {
            let present = table.present(group)?;
            let rows = table.reader.get_row_group(group)?;
            for (at, row) in rows.get_row_iter(Some(projection.clone()))?.enumerate() {
                let mut item: Item = row?.into_columns().into_iter().map(|(n, field)| (n, json_of(field))).collect();
                let path = item.remove(IMAGE).and_then(|image| Some(image.get("path")?.as_str()?.to_owned()));
                let present = present.as_ref().is_none_or(|all| all.get(at) == Some(&true));
                let place = format!("{}, row {}", table.name, all.len());
                all.push(Line { item, at: [group, at], present, path, place });
            }
        }
        Ok(all)
    })
}

/// The columns of a task's table.
fn wants(task: Task) -> &'static [(&'static str, Want)] {
    use Want::{Answers, Id, Picture, Text, Texts, Whole};
    match task {
        Task::Mme => {
            &[("question_id", Text), ("question", Text), ("answer", Text), ("category", Text), (IMAGE, Picture)]
        }
        Task::Gqa => &[("id", Id), ("imageId", Id), ("question", Text), ("answer", Text)],
        Task::OkVqa => &[("question_id", Id), ("question", Text), ("answers", Texts), (IMAGE, Picture)],
        Task::VqaV2 => &[("question_id", Id), ("question", Text), ("answers", Answers), (IMAGE, Picture)],
        Task::TextVqa => &[("question_id", Id), ("question", Text), ("answers", Texts), (IMAGE, Picture)],
        Task::ScienceQa => &[("question", Text), ("choices", Texts), ("answer", Whole), (IMAGE, Picture)],
        Task::Pope => {
            &[("question_id", Id), ("question", Text), ("answer", Text), ("category", Text), (IMAGE, Picture)]
        }
    }
}

/// The number in the name of a picture of COCO.
fn coco_number(path: &str) -> Option<u64> {
    let stem = path.rsplit('/').next()?.rsplit_once('.')?.0;
    stem.strip_prefix("COCO_val2014_")?.parse().ok()
}

/// Makes of a row the item that the other forms give, and checks it.
fn take(task: Task, line: &mut Line) -> Result<(), LoadError> {
    let Line { item, path, place, present, .. } = line;
    for (name, want) in wants(task) {
        match want {
            Want::Text => {
                text(item, name, place)?;
            }
            Want::Id if item.get(*name).is_none_or(Value::is_null) => {
                return wrong(&*place, format!("\"{name}\" is null, and is to be a text or a number"));
            }
            _ => {}
        }
    }
    match task {
        Task::Mme | Task::Pope => {
            let answer = text(item, "answer", place)?;
            if !["yes", "no"].contains(&answer.trim().to_lowercase().as_str()) {
                return wrong(&*place, format!("the answer is \"{answer}\", and is to be Yes or No"));
            }
        }
        Task::Gqa => {}
        Task::OkVqa | Task::VqaV2 | Task::TextVqa => take_answers(task, item, place)?,
        Task::ScienceQa => {
            check_choice(item, place)?;
            if item.get("hint").is_none_or(Value::is_null) {
                item.insert("hint".into(), json!(""));
            }
            let named = path.as_ref().filter(|path| !path.is_empty());
            let image = named.cloned().or_else(|| present.then(|| "picture".to_owned()));
            item.insert(IMAGE.into(), json!(image));
        }
    }
    if matches!(task, Task::OkVqa | Task::Pope) {
        // These tables have as texts what the releases have as numbers.
        let number = item.get("question_id").and_then(Value::as_str).and_then(|id| id.parse::<u64>().ok());
        if let Some(number) = number {
            item.insert("question_id".into(), json!(number));
        }
    }
    if let (Task::OkVqa, None, Some(number)) = (task, item.get("image_id"), path.as_deref().and_then(coco_number)) {
        item.insert("image_id".into(), json!(number));
    }
    Ok(())
}

/// Where the picture of a row is.
fn picture(task: Task, files: &Files<'_>, table: &Arc<Table>, line: &Line) -> Result<Option<Place>, LoadError> {
    let Line { item, at: [group, at], present, path, place } = line;
    if *present {
        let source = match task {
            Task::Mme => item.get("question_id"),
            Task::Pope => item.get("image_source"),
            Task::OkVqa | Task::VqaV2 | Task::TextVqa => item.get("image_id"),
            Task::Gqa | Task::ScienceQa => None,
        };
        let source = source.map_or_else(|| place.clone(), shown);
        let row = Row { table: Arc::clone(table), group: *group, at: *at, name: place.clone(), source };
        return Ok(Some(Place::Row(row)));
    }
    match path.as_ref().filter(|path| !path.is_empty()) {
        Some(path) => match files.named(path) {
            Some(name) => Ok(Some(Place::File(name.to_owned()))),
            None => wrong(place, format!("its picture has no bytes, and its path {path} is no file of the set")),
        },
        None if task == Task::ScienceQa => Ok(None),
        None => wrong(place, "it has no picture"),
    }
}

pub(super) fn load(task: Task, files: &Files<'_>) -> Result<Set, LoadError> {
    let mut set = Set::default();
    let tables = match task {
        Task::Gqa => return gqa(files),
        Task::Mme => tables(files, None, "test")?,
        Task::OkVqa => tables(files, None, "val2014")?,
        Task::VqaV2 | Task::TextVqa => tables(files, None, "validation")?,
        Task::ScienceQa => match shards(files, Some("ScienceQA-FULL"), "test")? {
            Some(all) => all,
            None => match shards(files, Some("ScienceQA-IMG"), "test")? {
                Some(all) => all,
                None => tables(files, None, "test")?,
            },
        },
        Task::Pope => match shards(files, None, "test")? {
            Some(all) => all,
            None => {
                let lists = ["adversarial", "popular", "random"].map(|list| shards(files, None, list));
                let lists = lists.into_iter().collect::<Result<Vec<_>, _>>()?;
                let count = lists.iter().flatten().count();
                if count == 0 {
                    return none(files, None, "test");
                }
                if count < 3 {
                    set.notes.push(format!("{count} of POPE's three lists are there"));
                }
                lists.into_iter().flatten().flatten().collect()
            }
        },
    };
    let mut seen = BTreeSet::new();
    for name in &tables {
        let table = Arc::new(Table::open(files, name)?);
        table.check(wants(task))?;
        for mut line in lines(&table)? {
            take(task, &mut line)?;
            let picture = picture(task, files, &table, &line)?;
            let id = task.key(&line.item);
            // The questions of a picture of MME have one id, and those of ScienceQA none.
            if !matches!(task, Task::Mme | Task::ScienceQa) && !seen.insert(id.clone()) {
                return wrong(line.place, format!("question {id} is there twice"));
            }
            set.entries.push(Entry { item: line.item, picture });
        }
    }
    let first = tables.first().map_or("the folder", String::as_str);
    if set.entries.is_empty() {
        return wrong(first, format!("it has no items of {}", task.name()));
    }
    match task {
        Task::Mme => mme::check_table(&mut set, first)?,
        Task::ScienceQa => note_pictures_alone(&mut set, first),
        Task::Gqa | Task::OkVqa | Task::TextVqa | Task::Pope | Task::VqaV2 => {}
    }
    Ok(set)
}

/// GQA's are two tables: one of questions, and one of the pictures that they name.
fn gqa(files: &Files<'_>) -> Result<Set, LoadError> {
    let [questions, images] = ["testdev_balanced_instructions", "testdev_balanced_images"];
    let [questions, images] = [tables(files, Some(questions), "testdev")?, tables(files, Some(images), "testdev")?];
    let mut pictures = HashMap::new();
    for name in &images {
        let table = Arc::new(Table::open(files, name)?);
        table.check(&[("id", Want::Id), (IMAGE, Want::Picture)])?;
        for line in lines(&table)? {
            let id = line.item.get("id").map_or_else(String::new, shown);
            let place = match picture(Task::Gqa, files, &table, &line)? {
                Some(Place::Row(row)) => Some(Place::Row(Row { source: id.clone(), ..row })),
                other => other,
            };
            pictures.insert(id, place);
        }
    }
    let (mut set, mut seen) = (Set::default(), BTreeSet::new());
    for name in &questions {
        let table = Table::open(files, name)?;
        table.check(wants(Task::Gqa))?;
        for mut line in lines(&table)? {
            take(Task::Gqa, &mut line)?;
            let part = |field: &str| line.item.get(field).map_or_else(String::new, shown);
            let (id, image) = (part("id"), part("imageId"));
            let place = format!("{}, question {id}", line.place);
            if !seen.insert(id) {
                return wrong(place, "this id is there twice");
            }
            let Some(picture) = pictures.get(&image) else {
                return wrong(place, format!("its picture {image} is not in testdev_balanced_images"));
            };
            set.entries.push(Entry { item: line.item, picture: picture.clone() });
        }
    }
    if set.entries.is_empty() { wrong(&questions[0], "it has no items of gqa") } else { Ok(set) }
}

#[cfg(test)]
#[path = "parquet_tests.rs"]
mod tests;
