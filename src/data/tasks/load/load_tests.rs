use std::collections::BTreeMap;

use serde_json::json;

use super::*;

/// A set of files in memory.
fn loaded(task: Task, all: &[(&str, &str)]) -> Result<Set, LoadError> {
    let all: BTreeMap<&str, &str> = all.iter().copied().collect();
    let read = |name: &str| Ok(all[name].as_bytes().to_vec());
    load(task, &Files::new(all.keys().map(ToString::to_string), &read))
}

fn field(set: &Set, name: &str) -> Vec<String> {
    set.entries.iter().map(|entry| entry.item[name].as_str().unwrap().to_owned()).collect()
}

/// Each of a hundred thousand pictures is looked for.
#[test]
fn files_are_found_by_how_they_end() {
    let read = |_: &str| Ok(Vec::new());
    let names = ["images/test/7/image.png", "a/b/test/8/image.png", "test/7/image.png", "7/image.png", "ximage.png"];
    let files = Files::new(names.map(str::to_owned), &read);
    for (end, want) in [
        ("image.png", Some("7/image.png")),
        ("test/7/image.png", Some("test/7/image.png")),
        ("images/test/7/image.png", Some("images/test/7/image.png")),
        ("test/8/image.png", Some("a/b/test/8/image.png")),
        ("8/image.jpg", None),
        ("st/7/image.png", None),
        ("", None),
    ] {
        assert_eq!(files.named(end), want, "{end}");
    }
    let names: Vec<String> = (0..60_000).map(|i| format!("val2014/COCO_val2014_{i:012}.jpg")).collect();
    let files = Files::new(names.clone(), &read);
    let start = crate::platform::now_secs();
    assert!(names.iter().all(|name| files.named(&name["val2014/".len()..]) == Some(name)));
    assert!(crate::platform::now_secs() - start < 10.0);
}

const TWO: &str = "Is it red?\tYes\nIs it blue?\tNo\n";

#[test]
fn texts_that_ask_nothing_are_left_out_of_mme_and_named() {
    let set = loaded(
        Task::Mme,
        &[
            ("M/existence/1.jpg", ""),
            ("M/existence/1.txt", TWO),
            ("M/eval_tool/LaVIN/existence.txt", "1.jpg\tIs it red?\tYes\tYes\n"),
            ("M/eval_tool/Your_Results/count.txt", "1.jpg\tIs it red?\tYes\tYes\n"),
            ("M/notes/readme.txt", "read me"),
            ("M/artwork_old/images/2.jpg", ""),
            ("M/artwork_old/questions_answers_YN/2.txt", TWO),
            ("M/art/images/3.jpg", ""),
            ("M/art/questions_answers_YN/3.txt", TWO),
        ],
    )
    .unwrap();
    assert_eq!(set.entries.len(), 6);
    for says in ["LaVIN: 1 .txt", "Your_Results: 1 .txt", "notes: 1 .txt", "\"art\" is no", "\"artwork_old\" is no"] {
        assert!(set.notes.iter().any(|note| note.contains(says)), "{says}: {:?}", set.notes);
    }
    // A category of MME without pictures is a loss.
    let lost = loaded(Task::Mme, &[("M/existence/1.txt", TWO)]).unwrap_err();
    assert!(lost.to_string().contains("its picture 1 (.jpg or .png) is not in M/existence"), "{lost}");
    let none = loaded(Task::Mme, &[("M/notes/readme.txt", "")]).unwrap_err().to_string();
    assert!(none.contains("no items of mme") && none.contains("notes: 1 .txt"), "{none}");
}

#[test]
fn tables_of_mme_have_pairs_and_its_categories() {
    let table = |rows: &[(&str, &str)]| {
        let picture = "A".repeat(68);
        let row = |(i, (category, path)): (usize, &(&str, &str))| {
            format!("{i}\t{picture}\tIs it?\tYes\t{category}\t{category}_{path}\n")
        };
        let rows: String = rows.iter().enumerate().map(row).collect();
        loaded(Task::Mme, &[("MME.tsv", &format!("index\timage\tquestion\tanswer\tcategory\timage_path\n{rows}"))])
    };
    let set = table(&[("weather", "1.jpg"), ("count", "1.jpg"), ("count", "1.jpg"), ("weather", "1.jpg")]).unwrap();
    assert_eq!(set.notes, ["\"weather\" is no category of MME: it counts as cognition, as with lmms-eval"]);
    let odd = table(&[("count", "1.jpg"), ("count", "2.jpg"), ("count", "1.jpg")]).unwrap_err().to_string();
    assert!(odd.contains("MME.tsv, count/2.jpg: MME has 2 questions a picture, and here are 1"), "{odd}");
}

#[test]
fn questions_of_gqa_are_in_the_order_of_their_file() {
    let question = |text: &str| json!({"imageId": "n1", "question": text, "answer": "red"});
    let text = format!("{{\"20\": {}, \"3\": {}, \"1\": {}}}", question("a"), question("b"), question("c"));
    let files = [("testdev_balanced_questions.json", text.as_str()), ("images/n1.jpg", "")];
    let set = loaded(Task::Gqa, &files).unwrap();
    assert_eq!((field(&set, "id"), field(&set, "question")), (vec_of(["20", "3", "1"]), vec_of(["a", "b", "c"])));
    let twice = format!("{{\"3\": {}, \"3\": {}}}", question("a"), question("b"));
    let twice = loaded(Task::Gqa, &[(files[0].0, twice.as_str()), files[1]]).unwrap_err().to_string();
    assert!(twice.contains("question 3: this id is there twice"), "{twice}");
}

fn vec_of<const N: usize>(all: [&str; N]) -> Vec<String> {
    all.map(str::to_owned).to_vec()
}

#[test]
fn annotations_that_are_there_twice_are_said() {
    let questions = json!({"questions": [{"question_id": 7, "image_id": 1, "question": "what?"}]}).to_string();
    let annotation = |answer: &str| json!({"question_id": 7, "answers": [{"answer": answer, "answer_id": 1}]});
    let annotations = json!({"annotations": [annotation("a"), annotation("b")]}).to_string();
    let set = loaded(
        Task::VqaV2,
        &[
            ("v2_OpenEnded_mscoco_val2014_questions.json", &questions),
            ("v2_mscoco_val2014_annotations.json", &annotations),
            ("val2014/COCO_val2014_000000000001.jpg", ""),
        ],
    )
    .unwrap();
    assert_eq!(set.entries[0].item["answers"], json!([{"answer": "b", "answer_id": 1}]));
    assert!(
        set.notes.len() == 1 && set.notes[0].contains("1 annotations are of questions that were"),
        "{:?}",
        set.notes
    );
}

#[test]
fn a_table_of_another_kind_beside_a_release_is_said_and_not_read() {
    let set = loaded(
        Task::Mme,
        &[("existence/1.jpg", ""), ("existence/1.txt", TWO), ("data/test-00000-of-00001.parquet", "PAR1")],
    )
    .unwrap();
    assert_eq!(set.entries.len(), 2);
    assert_eq!(set.notes, ["there are .parquet files, too: the original release is what is read"]);
}

#[test]
fn pointers_are_named_and_base64_may_be_in_lines() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n";
    for (task, name) in [(Task::Mme, "MME.tsv"), (Task::Gqa, "testdev_balanced_questions.json")] {
        let said = loaded(task, &[(name, pointer)]).unwrap_err().to_string();
        assert!(said.contains(name) && said.contains("it is a pointer of Git LFS, not the file"), "{said}");
    }
    let read = |_: &str| Ok(pointer.as_bytes().to_vec());
    let said = Place::File("1.jpg".into()).decode(&Files::new([], &read)).unwrap_err().to_string();
    assert!(said.contains("1.jpg: it is a pointer of Git LFS"), "{said}");
    let cell = Arc::new("aGVs\r\nbG8g\nd29ybGQ=".to_owned());
    let place = Place::Cell(Arc::clone(&cell), 0..cell.len(), "MME.tsv, line 2".into());
    assert_eq!(place.bytes(&Files::new([], &read)).unwrap(), b"hello world");
}

/// As `datasets` gives them to lmms-eval.
#[test]
fn pictures_of_sets_are_turned() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/field/data/photo-orientation");
    let read = |name: &str| crate::platform::read_file(&path.join(name));
    let names = crate::platform::list_folder(&path).unwrap();
    let sides = |name: &String| {
        let picture = Place::File(name.clone()).decode(&Files::new([], &read)).unwrap();
        (picture.width, picture.height)
    };
    let all: std::collections::BTreeSet<_> = names.iter().map(sides).collect();
    assert!(names.len() > 4 && all.len() == 1, "{names:?}: {all:?}");
}
