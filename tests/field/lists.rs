//! Lists as people have them: saved by other editors, cut off, on one line, two of them, of other programs' habits.

use std::path::{Path, PathBuf};

use hive::data::folder::{Folder, FolderError, Problems, SplitBy};
use hive::train::checkpoint::{Checkpoint, Meta};
use serde_json::{Value, json};

use crate::common::program::{Said, adapter, folder, hive, picture, start, text, train};

fn entry(id: usize, image: &str, answer: &str) -> Value {
    json!({"id": id.to_string(), "image": image, "conversations": [
        {"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": answer}]})
}

fn entries(count: usize) -> Vec<Value> {
    (0..count).map(|i| entry(i, &format!("images/{i:02}.png"), "A red circle.")).collect()
}

/// A folder of sixteen small pictures.
fn pictures(name: &str) -> PathBuf {
    let here = folder(name);
    for i in 0..16_u8 {
        picture(&here.join(format!("images/{i:02}.png")), [i * 15, 255 - i * 9, i * 5]);
    }
    here
}

fn trained_on(data: &Path, more: &[&str]) -> Said {
    let out = data.join("out");
    train(&out, &[&["--data", text(data), "--steps", "1", "--stage", "1", "--force"], more].concat())
}

/// The number of usable entries, and what is said of the others.
fn read(list: &[u8]) -> Result<(usize, Problems), FolderError> {
    let list = Folder::text(list, "list.json")?;
    Folder::parse(&list, "list.json").map(|(records, problems)| (records.len(), problems))
}

#[track_caller]
fn refused(list: &[u8], parts: &[&str]) {
    let said = read(list).unwrap_err().to_string();
    for part in parts {
        assert!(said.contains(part), "\"{part}\" is not in: {said}");
    }
}

#[track_caller]
fn refused_file(list: &[u8], says: &str) {
    let said = read(list).unwrap_err().to_string();
    assert!(said.contains(says), "{said}");
}

#[test]
fn a_list_is_read_in_the_encoding_that_it_has() {
    let mut list = entries(4);
    list[2]["conversations"][1]["value"] = "Ein grüner Kreis 🙂".into();
    let plain = serde_json::to_string_pretty(&list).unwrap();
    let units: Vec<u16> = plain.encode_utf16().collect();
    let little: Vec<u8> = units.iter().flat_map(|u| u.to_le_bytes()).collect();
    let big: Vec<u8> = units.iter().flat_map(|u| u.to_be_bytes()).collect();
    let marked = |mark: &[u8], bytes: &[u8]| [mark, bytes].concat();
    let whole = read(plain.as_bytes()).unwrap();
    assert_eq!(whole, (4, Problems::default()));
    refused_file(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull");
    let encodings = [
        marked(b"\xef\xbb\xbf", plain.as_bytes()),
        marked(b"\xff\xfe", &little),
        marked(b"\xfe\xff", &big),
        little,
        big,
    ];
    for bytes in encodings {
        let found = Folder::text(&bytes, "list.json").unwrap();
        assert_eq!(found.trim_start_matches('\u{feff}'), plain);
        assert_eq!(read(&bytes).unwrap(), whole);
    }
    let latin: Vec<u8> = plain.replace('🙂', "").chars().map(|c| u32::from(c) as u8).collect();
    let line = 1 + plain.lines().position(|l| l.contains("Ein gr")).unwrap();
    refused(&latin, &[&format!("list.json:{line}: "), "Latin-1", "save the list as UTF-8"]);
    refused(b"\xff\xfe\0\0[\0\0\0", &["UTF-32", "save the list as UTF-8"]);
    refused(b"\x1f\x8b\x08\0", &["gzip"]);
    refused(b"\xff\xfe[\0\0\xd8", &["UTF-16"]);
}

#[test]
fn a_list_that_is_cut_off_is_told() {
    let whole = serde_json::to_string_pretty(&entries(16)).unwrap();
    for cut in [whole.len() - 2, whole.len() * 2 / 3, whole.len() - 40] {
        refused(&whole.as_bytes()[..cut], &["list.json may be cut off", "it ends without ]"]);
    }
    let lines = entries(16).iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
    refused(&lines.as_bytes()[..lines.len() - 30], &["cut off after 15 entries", "last line is no whole JSON object"]);
    let objects = entries(16).iter().map(|e| serde_json::to_string_pretty(e).unwrap()).collect::<Vec<_>>().join("\n");
    assert_eq!(read(objects.as_bytes()).unwrap(), (16, Problems::default()));
    refused(&objects.as_bytes()[..objects.len() - 30], &["cut off after 15 entries", "last object is not closed"]);
    // Whole, whatever blanks end it.
    for end in ["", "\n", "\r\n\r\n", " \0"] {
        assert_eq!(read(format!("{whole}{end}").as_bytes()).unwrap().0, 16);
        assert_eq!(read(format!("{lines}{}", end.trim_end_matches('\0')).as_bytes()).unwrap().0, 16);
    }
    // Two lists in one file, and a list inside of something.
    refused(format!("{whole}\n{whole}").as_bytes(), &["behind the closing ]", "one array"]);
    for wrapped in [json!({"version": 1, "data": entries(3)}).to_string(), "{\n \"data\": [\n {}\n ]\n}".to_owned()] {
        refused(wrapped.as_bytes(), &["one JSON object with the keys", "\"data\"", "not a list"]);
    }
}

#[test]
fn entries_of_other_programs_are_used_or_told() {
    let said = |change: &dyn Fn(&mut Value)| -> (usize, String) {
        let mut list = entries(5);
        change(&mut list[3]);
        let (count, problems) = read(Value::from(list).to_string().as_bytes()).unwrap();
        (count, problems.first.iter().map(ToString::to_string).chain(problems.notes).collect::<Vec<_>>().join("\n"))
    };
    let turn = |from: &str| json!({"from": from, "value": "text"});
    type Change<'a> = &'a dyn Fn(&mut Value);
    let bad: [(Change<'_>, &str); 12] = [
        (&|e| e["image"] = json!(["a.png", "b.png"]), "2 pictures, and several pictures per entry are not supported"),
        (&|e| e["image"] = json!([]), "no `image`"),
        (&|e| e["image"] = json!("https://example.org/a.png"), "pictures are not fetched"),
        (&|e| e["image"] = json!("C:\\a.png"), "outside the folder"),
        (&|e| e["conversations"][0]["from"] = "user".into(), "it is from \"user\""),
        (&|e| e["conversations"][1]["from"] = "system".into(), "value 2 of the conversation: it is from \"system\""),
        (&|e| e["conversations"] = json!([{"role": "user", "content": "<image>"}]), "`role` instead of `from`"),
        (&|e| e["conversations"] = json!([turn("system")]), "a \"system\" turn alone"),
        (&|e| e["conversations"].as_array_mut().unwrap().push(turn("human")), "ends with a question"),
        (&|e| e["conversations"][1]["value"] = " ".into(), "the answer of turn 1 is empty"),
        (&|e| e["conversations"][1]["value"] = json!(7), "its `value` is no text"),
        (&|e| *e = json!({"id": 3, "image": "a.png", "messages": []}), "`messages` is not read"),
    ];
    for (change, says) in bad {
        let (count, said) = said(change);
        assert_eq!(count, 4, "{said}");
        assert!(said.starts_with("list.json:1: entry 4 (id 3): ") && said.contains(says), "{said}");
    }
    assert_eq!(said(&|e| e["image"] = json!(["images/03.png"])), (5, String::new()));
    let said_of = said;
    let (count, said) = said_of(&|e| e["conversations"].as_array_mut().unwrap().insert(0, turn("system")));
    assert!(count == 5 && said.contains("1 entries of list.json have \"system\" turns"), "{said}");
    // In the middle, too.
    let (count, said) = said_of(&|e| {
        let turns = e["conversations"].as_array_mut().unwrap();
        turns.extend([turn("system"), turn("human"), turn("gpt")]);
    });
    assert!(count == 5 && said.contains("1 entries of list.json have \"system\" turns"), "{said}");
}

#[test]
fn of_what_is_not_held_out_no_accuracy_is_told() {
    if !adapter() {
        return;
    }
    let here = pictures("nothing-held-out");
    std::fs::write(here.join("list.json"), Value::from(entries(4)).to_string()).unwrap();
    let said = trained_on(&here, &[]).code(0);
    let told = said.out.lines().find(|line| line.starts_with("stage 1:")).unwrap().to_owned();
    assert_eq!(told, "stage 1: nothing is held out, so that nothing can be said of accuracy");
    let notes = said.out.lines().find(|line| line.contains("\"notes\"")).unwrap();
    let page = std::fs::read_to_string(here.join("out/report.html")).unwrap();
    assert!(page.contains("Nothing is held out") && !page.contains("0.00<"), "{page}");
    assert!(notes.contains("none of the pictures of list.json is held out"), "{notes}");
    said.complains(&["none of the pictures of list.json is held out", "8 different ones are needed"]);
    let model = here.join("out/checkpoint.safetensors");
    let checkpoint = Checkpoint::from_bytes(&std::fs::read(&model).unwrap()).unwrap();
    assert!(checkpoint.meta.scores.is_empty());
    hive(&["eval", "--model", text(&model), "--data", text(&here)]).code(1).complains(&["no picture is held out"]);
}

#[test]
fn a_run_that_goes_on_with_other_entries_says_so() {
    if !adapter() {
        return;
    }
    let here = pictures("other-entries");
    let list = here.join("list.json");
    std::fs::write(&list, Value::from(entries(16)).to_string()).unwrap();
    let out = here.join("out");
    let file = out.join("checkpoint.safetensors");
    let begun = ["--data", text(&here), "--steps", "3", "--stage", "1", "--save-every", "1", "--kill-after", "2"];
    train(&out, &begun).code(1);
    let resume = |more: &[&str]| {
        hive(
            &[&["train", "--resume", text(&file), "--stage", "1", "--questions", "2", "--out", text(&out)], more]
                .concat(),
        )
    };
    resume(&[]).code(2).complains(&["give it again, with --data FOLDER"]);
    let kept = std::fs::read(&file).unwrap();
    let same = resume(&["--data", text(&here)]).code(0);
    assert!(!same.err.contains("the run was begun with"), "{}", same.err);
    // In another order they are the same.
    std::fs::write(&file, &kept).unwrap();
    std::fs::write(&list, Value::from(entries(16).into_iter().rev().collect::<Vec<_>>()).to_string()).unwrap();
    let same = resume(&["--data", text(&here)]).code(0);
    assert!(!same.err.contains("the run was begun with"), "{}", same.err);
    std::fs::write(&file, &kept).unwrap();
    let mut other = entries(16);
    other[3]["conversations"][1]["value"] = "A circle.".into();
    std::fs::write(&list, Value::from(other).to_string()).unwrap();
    resume(&["--data", text(&here)]).code(0).complains(&["are not those that the run was begun with"]);
    resume(&["--data", text(&here)]).code(0).complains(&["nothing was trained"]);
}

#[test]
fn numbers_that_python_writes_are_read() {
    let list = Value::from(entries(3)).to_string();
    for (number, fine) in [("NaN", true), ("Infinity", true), ("-Infinity", true), ("nan", false), ("-NaN", false)] {
        let list = list.replacen("\"id\":\"1\"", &format!("\"score\":[{number},{number}],\"id\":\"1\""), 1);
        assert_eq!(read(list.as_bytes()).unwrap().0, if fine { 3 } else { 2 }, "{number}");
    }
    // In a text they are words.
    let list = list.replacen("A red circle.", "NaN, \\\" Infinity", 1).replacen("\"id\":\"0\"", "\"score\":NaN", 1);
    let (records, _) = Folder::parse(&list, "list.json").unwrap();
    assert_eq!(records[0].turns[0].answer, "NaN, \" Infinity");
}

#[test]
fn skipped_entries_are_named_on_one_line() {
    let mut list = entries(16);
    list[9].as_object_mut().unwrap().remove("image");
    list[12]["conversations"][1]["value"] = "".into();
    let (count, problems) = read(Value::from(list).to_string().as_bytes()).unwrap();
    let said: Vec<String> = problems.first.iter().map(ToString::to_string).collect();
    assert_eq!(count, 14);
    assert!(said[0].starts_with("list.json:1: entry 10 (id 9): ") && said[0].contains("no `image`"), "{said:?}");
    assert!(said[1].starts_with("list.json:1: entry 13 (id 12): ") && said[1].contains("is empty"), "{said:?}");
}

#[test]
fn faults_are_counted_and_the_first_are_kept() {
    let good = Value::from(entries(1)).to_string();
    let good = format!("{}\n", good.trim_matches(['[', ']'])).repeat(30_000);
    let list = format!("{good}{}", "{}\n".repeat(20_000));
    let (count, problems) = read(list.as_bytes()).unwrap();
    assert_eq!((count, problems.count, problems.first.len()), (30_000, 20_000, Problems::KEPT));
    refused("x\n".repeat(50_000).as_bytes(), &["50000 of 50000 entries", "list.json:1: entry 1: "]);
}

#[test]
fn of_several_files_the_list_is_found_or_asked_for() {
    if !adapter() {
        return;
    }
    let here = pictures("two-lists");
    let write = |name: &str, list: &[Value]| {
        std::fs::write(here.join(name), Value::from(list.to_vec()).to_string()).unwrap();
    };
    write("test.json", &entries(16)[12..]);
    let mut others = entries(12);
    others.iter_mut().for_each(|e| e["conversations"][1]["value"] = "A blue square.".into());
    write("train.json", &others);
    let which = here.join("train.json");
    let ask = format!("say which with --data {}", text(&which));
    trained_on(&here, &[]).code(1).complains(&["2 conversation lists, test.json, train.json", &ask]);
    // Named, it is the one.
    let out = here.join("out");
    train(&out, &["--data", text(&which), "--steps", "1", "--stage", "1", "--force"]).code(0);
    let checkpoint = Checkpoint::from_bytes(&std::fs::read(out.join("checkpoint.safetensors")).unwrap()).unwrap();
    assert!(checkpoint.meta.tokenizer.id("square").is_some() && checkpoint.meta.tokenizer.id("circle").is_none());
    assert_eq!(checkpoint.meta.split, SplitBy::Picture);
    // A checkpoint of an earlier version says nothing of it.
    let mut meta = serde_json::to_value(&checkpoint.meta).unwrap();
    meta.as_object_mut().unwrap().remove("split").unwrap();
    assert_eq!(Meta::parse(&meta.to_string()).unwrap().split, SplitBy::Id);

    // One list, and files beside it that are none.
    std::fs::remove_file(here.join("test.json")).unwrap();
    std::fs::write(here.join("._train.json"), b"\0\x05\x16\x07\0\x02\0\0Mac OS X").unwrap();
    std::fs::write(here.join("dataset_info.json"), "{\"splits\": [\"train\"]}").unwrap();
    std::fs::write(here.join("train.csv"), "a,b\n").unwrap();
    let passed = "the list is train.json; beside it dataset_info.json, train.csv, ._train.json is passed over";
    trained_on(&here, &[]).code(0).complains(&[passed]);
    std::fs::remove_file(which).unwrap();
    std::fs::remove_file(here.join("dataset_info.json")).unwrap();
    trained_on(&here, &[]).code(1).complains(&["no conversation list", "train.csv is not one"]);
}

#[test]
fn names_from_windows_are_found() {
    if !adapter() {
        return;
    }
    let here = pictures("backslashes");
    let mut list = entries(16);
    list.iter_mut().for_each(|e| e["image"] = e["image"].as_str().unwrap().replace('/', "\\").into());
    // A file may really be called so.
    picture(&here.join("images\\odd.png"), [1, 2, 3]);
    list.push(entry(16, "images\\odd.png", "Odd."));
    std::fs::write(here.join("list.json"), Value::from(list).to_string()).unwrap();
    let said = trained_on(&here, &[]).code(0);
    assert!(!said.err.contains("skipped"), "{}", said.err);
}

#[test]
fn answers_longer_than_the_row_are_told_and_never_exact() {
    if !adapter() {
        return;
    }
    let here = pictures("long-answers");
    let mut list = entries(16);
    list.iter_mut().for_each(|e| e["conversations"][1]["value"] = ["word"; 64].join(" ").into());
    list[9].as_object_mut().unwrap().remove("image");
    std::fs::write(here.join("list.json"), Value::from(list).to_string()).unwrap();
    let told = "15 of 15 answers of list.json are longer than the row";
    let said =
        trained_on(&here, &[]).code(0).complains(&[told, "--set tokens=70", "1 entries of list.json were skipped"]);
    // Before the first step, and again at the end.
    assert_eq!(said.err.matches(told).count(), 2, "{}", said.err);
    assert_eq!(said.err.matches("were skipped, 15 of 16 are used").count(), 2, "{}", said.err);
    // And to programs, and in the report.
    let last = said.out.lines().find(|line| line.starts_with("{\"left_out\"")).unwrap();
    let last: Value = serde_json::from_str(last).unwrap();
    assert_eq!((&last["left_out"]["entries"], &last["left_out"]["of"]), (&json!(1), &json!(16)));
    assert!(last["left_out"]["first"][0].as_str().unwrap().starts_with("list.json:1: entry 10 (id 9): "), "{last}");
    let page = std::fs::read_to_string(here.join("out/report.html")).unwrap();
    for part in
        ["15 of 16 entries are used, 1 are left out", "entry 10 (id 9): ", told, "<td>stage 1</td>", "<polyline"]
    {
        assert!(page.contains(part), "{part}: {page}");
    }
    let checkpoint = here.join("out/checkpoint.safetensors");
    let scores = hive(&["eval", "--model", text(&checkpoint), "--data", text(&here), "--json"]).code(0);
    assert!(scores.err.contains(told), "{}", scores.err);
    assert_eq!(scores.json()["left_out"]["entries"], 1);
    assert_eq!(scores.json()["own picture"]["all"]["hits"], 0);
    assert!(scores.json()["own picture"]["all"]["of"].as_u64().unwrap() > 0);
    let said = train(
        &here.join("out"),
        &["--data", text(&here), "--steps", "1", "--stage", "1", "--force", "--set", "tokens=70"],
    );
    assert!(!said.code(0).err.contains("longer than the row"));
    assert!(start().exists());
}
