//! Tests of `folder`: both forms of the list, bad entries, the split, order, reading.

use super::super::batch;
use super::super::tokenizer::Tokenizer;
use super::super::worlds::Turn;
use super::*;

fn entry(id: usize) -> String {
    format!(
        r#"{{"id": "{id}", "image": "images/{id}.png", "conversations": [{{"from": "human", "value": "<image>\nWhat is [it], {{really}}?"}}, {{"from": "gpt", "value": "A \"duck\" {id}."}}, {{"from": "human", "value": "Where?"}}, {{"from": "gpt", "value": "Here"}}]}}"#
    )
}

fn list(n: usize) -> String {
    (0..n).map(entry).collect::<Vec<_>>().join("\n")
}

#[test]
fn arrays_and_lines_are_the_same() {
    let (lines, problems) = Folder::parse(&list(5), "c.jsonl").unwrap();
    assert_eq!(problems, Problems::default());
    let array = format!("\u{feff}[\n{}\n]\n", list(5).replace('\n', ",\n"));
    let (mut array, problems) = Folder::parse(&array, "c.json").unwrap();
    assert_eq!(problems, Problems::default());
    assert_eq!(array.iter().map(|r| r.line).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
    array.iter_mut().for_each(|r| r.line -= 1);
    assert_eq!(array, lines);
    assert_eq!(
        lines[3].turns[0],
        Turn { kind: "question", question: "What is [it], {really}?".into(), answer: "A \"duck\" 3.".into() }
    );
    let pretty = "[\n {\n  \"image\": \"a.png\",\n  \"conversations\": [{\"from\": \"human\", \"value\": \"<image>\"}, {\"from\": \"gpt\", \"value\": \"A cat\"}]\n }\n]";
    let (records, _) = Folder::parse(pretty, "c.json").unwrap();
    assert_eq!((records[0].id.as_str(), records[0].turns[0].kind, records[0].line), ("a.png", "caption", 2));
}

#[test]
fn bad_entries_are_named_and_left_out() {
    let human = r#"{"from": "human", "value": "<image> a ?"}"#;
    let gpt = r#"{"from": "gpt", "value": "b"}"#;
    let cases = [
        ("{\"id\": 1, ".to_owned(), "no valid JSON"),
        (r#"{"id": "1"}"#.to_owned(), "no `image`"),
        (r#"{"image": "../a.png"}"#.to_owned(), "outside the folder"),
        (r#"{"image": "a.png", "conversations": []}"#.to_owned(), "no `conversations`"),
        (format!(r#"{{"image": "a.png", "conversations": [{human}]}}"#), "ends with a question"),
        (format!(r#"{{"image": "a.png", "conversations": [{gpt}, {human}]}}"#), "turn 1 has no {\"from\": \"human\""),
        (
            format!(r#"{{"image": "a.png", "conversations": [{human}, {gpt}, {human}, {gpt}]}}"#),
            "turn 2 has it otherwise",
        ),
        (
            format!(r#"{{"image": "a.png", "conversations": [{}, {gpt}]}}"#, human.replace("<image>", "")),
            "turn 1 has it otherwise",
        ),
        (
            format!(r#"{{"image": "a.png", "conversations": [{human}, {}]}}"#, gpt.replace('b', " ")),
            "answer of turn 1 is empty",
        ),
        ("7".to_owned(), "no `image`"),
    ];
    for (bad, expected) in &cases {
        let (records, problems) = Folder::parse(&format!("{}\n\n{bad}\n{}", entry(0), entry(1)), "c.jsonl").unwrap();
        assert_eq!((records.len(), problems.count), (2, 1), "{bad}");
        let sentence = problems.first[0].to_string();
        assert!(sentence.starts_with("c.jsonl:3: ") && sentence.contains(expected), "{sentence}");
    }
    // in an array too
    let array = format!("[{},\n{}]", list(3).replace('\n', ",\n"), cases[1].0);
    let (records, problems) = Folder::parse(&array, "c.json").unwrap();
    assert_eq!(
        (records.len(), problems.first.iter().map(|p| (p.line, p.number)).collect::<Vec<_>>()),
        (3, vec![(4, 4)])
    );
}

#[test]
fn hopeless_lists_are_refused() {
    let error = |text: &str| Folder::parse(text, "c.jsonl").unwrap_err().to_string();
    assert!(error("\n").contains("c.jsonl has no entries"));
    assert!(error("[]").contains("no entries"));
    let text = error(&format!("{}\nx\ny", entry(0)));
    assert!(text.contains("2 of 3 entries in c.jsonl are unusable") && text.contains("c.jsonl:2: "), "{text}");
    assert!(Folder::parse(&format!("{}\nx", entry(0)), "c").is_ok());
}

#[test]
fn split_and_order() {
    let (folder, _) = Folder::load(&list(800), "c.jsonl").unwrap();
    let (train, held_out) = (folder.size(Split::Train) as u64, folder.size(Split::HeldOut) as u64);
    assert!(train + held_out == 800 && (70..130).contains(&held_out), "{held_out}");
    let answers = |split, from: u64, n: u64| -> Vec<String> {
        (from..from + n).map(|i| folder.text_sample(split, 3, i, 9).unwrap().turns[0].answer.clone()).collect()
    };
    let (first, second) = (answers(Split::Train, 0, train), answers(Split::Train, train, train));
    assert_ne!(first, second);
    let sorted = |mut v: Vec<String>| {
        v.sort_unstable();
        v
    };
    // every entry once per round, none of them held out
    assert_eq!(sorted(first.clone()), sorted(second));
    let mut all = [first, answers(Split::HeldOut, 0, held_out)].concat();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 800);
    assert!(answers(Split::HeldOut, held_out, 3).iter().all(|a| a == "Here"));
    let turns: Vec<usize> =
        (0..40).map(|i| folder.text_sample(Split::Train, 3, i, 1).unwrap().turns[0].answer.len()).collect();
    assert!(turns.contains(&4) && turns.iter().any(|n| *n > 4));
    let (small, _) = Folder::load(&entry(0), "c.jsonl").unwrap();
    let split = if small.size(Split::Train) == 0 { Split::Train } else { Split::HeldOut };
    assert!(small.text_sample(split, 1, 0, 1).unwrap_err().to_string().contains("add more pictures"));
    for n in [1, 2, 3, 64, 65, 1_000] {
        let mut to: Vec<u64> = (0..n).map(|i| shuffled(i, n, 99)).collect();
        to.sort_unstable();
        assert_eq!(to, (0..n).collect::<Vec<_>>());
    }
}

#[test]
fn pictures_are_read_when_needed() {
    let (folder, _) = Folder::load(&list(40), "c.jsonl").unwrap();
    let mut png = std::io::Cursor::new(Vec::new());
    ::image::RgbImage::from_pixel(9, 5, ::image::Rgb([255, 0, 0]))
        .write_to(&mut png, ::image::ImageFormat::Png)
        .unwrap();
    let read = |name: &str| {
        if name.starts_with("images/") { Ok(png.get_ref().clone()) } else { Err("no such file".to_owned()) }
    };
    let sample = folder.sample(Split::Train, 1, 2, 4, &Preprocess::new(8), &read).unwrap();
    assert_eq!((sample.pixels.len(), sample.pixels[0], sample.pixels[191], sample.turns.len()), (192, 1.0, -1.0, 2));
    let tokenizer = Tokenizer::from_texts(folder.texts(), 100);
    let row = batch::conversation(&[sample], &tokenizer, 40);
    assert!(tokenizer.decode(&row.ids).starts_with("what is [ it ] , { really } ? a \" duck \""));
    let missing = folder
        .sample(Split::Train, 1, 2, 4, &Preprocess::new(8), &|_: &str| Err("no such file".to_owned()))
        .unwrap_err()
        .to_string();
    assert!(missing.starts_with("c.jsonl:") && missing.contains("(no such file)"), "{missing}");
    let broken = folder
        .sample(Split::Train, 1, 2, 4, &Preprocess::new(8), &|_: &str| Ok(vec![1, 2, 3]))
        .unwrap_err()
        .to_string();
    assert!(broken.starts_with("c.jsonl:") && broken.contains("cannot be read as a picture"), "{broken}");
}
