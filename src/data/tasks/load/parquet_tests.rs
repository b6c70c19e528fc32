use parquet::data_type::{ByteArray, Int32Type};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::super::load;
use super::*;

/// A column: levels of definition and repetition, and values.
enum Column {
    Texts(Vec<i16>, Vec<i16>, Vec<&'static str>),
    Numbers(Vec<i32>),
}

/// Texts of which some are not there; `most` is the level of those that are.
fn texts(most: i16, all: &[Result<&'static str, i16>]) -> Column {
    let levels = all.iter().map(|one| one.as_ref().err().copied().unwrap_or(most)).collect();
    Column::Texts(levels, Vec::new(), all.iter().filter_map(|one| one.ok()).collect())
}

fn file(schema: &str, columns: &[Column], statistics: bool) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let kind = if statistics { EnabledStatistics::Chunk } else { EnabledStatistics::None };
    let properties = Arc::new(WriterProperties::builder().set_statistics_enabled(kind).build());
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for column in columns {
        let mut to = group.next_column().unwrap().unwrap();
        match column {
            Column::Texts(levels, repeated, values) => {
                let values: Vec<ByteArray> = values.iter().map(|value| ByteArray::from(*value)).collect();
                let repeated = (!repeated.is_empty()).then_some(&repeated[..]);
                to.typed::<ByteArrayType>().write_batch(&values, Some(&levels[..]), repeated).unwrap();
            }
            Column::Numbers(values) => drop(to.typed::<Int32Type>().write_batch(values, None, None).unwrap()),
        }
        to.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
    bytes
}

/// Bytes of pictures.
type Pictures = Vec<Option<Vec<u8>>>;

fn loaded(task: Task, all: &[(&str, Vec<u8>)]) -> Result<(Set, Pictures), String> {
    let read = |name: &str| Ok(all.iter().find(|(own, _)| *own == name).unwrap().1.clone());
    let files = Files::new(all.iter().map(|(name, _)| (*name).to_owned()), &read);
    let set = load(task, &files).map_err(|e| e.to_string())?;
    let pictures = set.entries.iter().map(|entry| entry.picture.as_ref().map(|place| place.bytes(&files).unwrap()));
    let pictures = pictures.collect();
    Ok((set, pictures))
}

const MME: &str = "message schema { optional binary question_id (UTF8); optional binary question (UTF8);
    optional binary answer (UTF8); optional binary category (UTF8); optional int32 day (DATE);
    optional group image { optional binary bytes; optional binary path (UTF8); } }";

fn mme(answer: Result<&'static str, i16>, bytes: [Result<&'static str, i16>; 2], path: &'static str) -> Vec<Column> {
    vec![
        texts(1, &[Ok("count/1.jpg"), Ok("count/1.jpg")]),
        texts(1, &[Ok("a"), Ok("b")]),
        texts(1, &[Ok("Yes"), answer]),
        texts(1, &[Ok("count"), Ok("count")]),
        Column::Numbers(vec![1, 2]),
        texts(2, &bytes),
        texts(2, &[Err(1), Ok(path)]),
    ]
}

#[test]
fn pictures_are_in_rows_or_where_their_paths_say() {
    let schema = MME.replace("optional int32", "required int32");
    for statistics in [true, false] {
        let name = "data/test-00000-of-00001.parquet";
        let table = file(&schema, &mme(Ok("No"), [Ok("one"), Ok("two")], "1.jpg"), statistics);
        let (set, pictures) = loaded(Task::Mme, &[(name, table)]).unwrap();
        assert_eq!(pictures, [Some(b"one".to_vec()), Some(b"two".to_vec())]);
        // Dates have no form in JSON.
        let fields: Vec<&String> = set.entries[0].item.keys().collect();
        assert_eq!(fields, ["answer", "category", "question", "question_id"]);
        let table = file(&schema, &mme(Ok("No"), [Ok("one"), Err(1)], "1.jpg"), statistics);
        let (_, pictures) = loaded(Task::Mme, &[(name, table.clone()), ("pictures/1.jpg", b"file".to_vec())]).unwrap();
        assert_eq!(pictures, [Some(b"one".to_vec()), Some(b"file".to_vec())]);
        let said = loaded(Task::Mme, &[(name, table)]).unwrap_err();
        assert!(said.contains("row 1: its picture has no bytes") && said.contains("1.jpg"), "{said}");
        let table = file(&schema, &mme(Ok("No"), [Ok("one"), Err(1)], ""), statistics);
        let said = loaded(Task::Mme, &[(name, table)]).unwrap_err();
        assert!(said.contains("00001.parquet, row 1: it has no picture"), "{said}");
    }
}

#[test]
fn rows_that_are_wrong_are_named() {
    let schema = MME.replace("optional int32", "required int32");
    let name = "test-00000-of-00001.parquet";
    for (answer, says) in [(Ok("Maybe"), "\"Maybe\", and is to be Yes or No"), (Err(0), "\"answer\" is null")] {
        let said = loaded(Task::Mme, &[(name, file(&schema, &mme(answer, [Ok("a"), Ok("b")], ""), true))]).unwrap_err();
        assert!(said.contains("00001.parquet, row 1: ") && said.contains(says), "{said}");
    }
    let mut columns = mme(Ok("No"), [Ok("a"), Ok("b")], "");
    columns[0] = texts(1, &[Ok("count/1.jpg"), Err(0)]);
    let said = loaded(Task::Mme, &[(name, file(&schema, &columns, true))]).unwrap_err();
    assert!(said.contains("row 1: \"question_id\" is null"), "{said}");
    let whole = file(&schema, &mme(Ok("No"), [Ok("a"), Ok("b")], ""), true);
    for len in 0..whole.len() {
        let said = loaded(Task::Mme, &[(name, whole[..len].to_vec())]).unwrap_err();
        assert!(said.starts_with(name), "{len}: {said}");
    }
    let said = loaded(Task::Mme, &[("train-00000-of-00001.parquet", whole)]).unwrap_err();
    assert!(said.contains("no table of the part test"), "{said}");
}

/// Bytes of a file that are others than they were, one by one: it is refused or read, and nothing else.
#[test]
fn a_damaged_file_is_refused_or_read() {
    let schema = MME.replace("optional int32", "required int32");
    let whole = file(&schema, &mme(Ok("No"), [Ok("a"), Ok("b")], ""), true);
    let (mut taken, mut refused) = (0, 0);
    for at in 4..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            let read = |_: &str| Ok(bytes.clone());
            let files = Files::new(["test.parquet".to_owned()], &read);
            match load(Task::Mme, &files) {
                Ok(set) => {
                    taken += 1;
                    set.entries.iter().flat_map(|entry| &entry.picture).for_each(|place| drop(place.bytes(&files)));
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(taken > 100 && refused > 100, "{taken} {refused}");
}

/// A missing picture is a struct that is not there, or one with nothing in it.
#[test]
fn items_of_science_qa_may_have_no_picture() {
    let schema = "message schema { optional binary question (UTF8); optional int32 extra;
        optional group choices (LIST) { repeated group list { optional binary item (UTF8); } }
        required int32 answer (INT_8); optional group image { optional binary bytes; optional binary path (UTF8); } }";
    let schema = schema.replace("optional int32", "required int32");
    for statistics in [true, false] {
        let columns = [
            texts(1, &[Ok("a"), Ok("b"), Ok("c")]),
            Column::Numbers(vec![7; 3]),
            Column::Texts(vec![3; 6], vec![0, 1, 0, 1, 0, 1], vec!["x", "y", "x", "y", "x", "y"]),
            Column::Numbers(vec![0, 1, 1]),
            texts(2, &[Err(0), Ok("bytes"), Err(1)]),
            texts(2, &[Err(0), Err(1), Err(1)]),
        ];
        let name = "ScienceQA-FULL/test-00000-of-00001.parquet";
        let other = ("ScienceQA-IMG/test-00000-of-00001.parquet", Vec::new());
        let (set, pictures) = loaded(Task::ScienceQa, &[(name, file(&schema, &columns, statistics)), other]).unwrap();
        assert_eq!(pictures, [None, Some(b"bytes".to_vec()), None]);
        let images: Vec<&Value> = set.entries.iter().map(|entry| &entry.item["image"]).collect();
        assert_eq!(images, [&Value::Null, &json!("picture"), &Value::Null]);
        assert_eq!(set.entries[0].item["choices"], json!(["x", "y"]));
        assert_eq!(set.notes, [""; 0]);
    }
}
