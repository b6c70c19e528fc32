//! A model answers a published set: what it is asked, what becomes of a run that is ended, and what is refused.

use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::program::{adapter, command, folder, hive, text};
use crate::common::repository;

const MME: &str = "tests/fixtures-eval/formats/mme/original";
const MODEL: &str = "tests/fixtures-vlm/smolvlm-whole";

fn words<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let all = ["eval", "--task", "mme", "--data", MME, "--model", MODEL, "--weights", "f32", "--out", out];
    [&all, more].concat()
}

fn lines(out: &Path) -> Vec<String> {
    std::fs::read_to_string(out).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn a_run_that_was_ended_goes_on_to_the_same_answers() {
    if !adapter() {
        return;
    }
    let folder = folder("question-set");
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let [whole, torn, killed] = ["whole.jsonl", "torn.jsonl", "killed.jsonl"].map(path);
    let page = path("page.html");
    let said = hive(&words(&whole, &["--json", "--report", &page])).code(0).json();
    let html = std::fs::read_to_string(page).unwrap();
    for words in [
        "mme, 10 items",
        "mme_perception_score",
        "smolvlm-whole",
        "lmms-eval 0.7.3",
        "data:image/jpeg;base64,",
        "of 2374 items",
    ] {
        assert!(html.contains(words), "{words} is not on the page");
    }
    let want = lines(Path::new(&whole));
    assert_eq!((want.len(), said["items"].as_array().unwrap().len()), (11, 10));
    let first: Value = serde_json::from_str(&want[1]).unwrap();
    assert_eq!(first["prompt"], "Is there a circle in this image?\nAnswer the question using a single word or phrase.");
    assert_eq!((&first["id"], &first["index"]), (&json!("existence/000000000101.jpg"), &json!(0)));
    // The answer is that of a question about the same picture.
    let photo = format!("{MME}/MME_Benchmark_release_version/MME_Benchmark/existence/000000000101.jpg");
    let asked = hive(&[
        "ask",
        &photo,
        first["prompt"].as_str().unwrap(),
        "--model",
        MODEL,
        "--weights",
        "f32",
        "--limit",
        "16",
        "--json",
    ]);
    assert_eq!(asked.code(0).json()["answer"], first["answer"]);
    // The file is one that is scored by itself, too.
    let scored = hive(&["eval", "--task", "mme", "--score", &whole, "--json"]).code(0).json();
    assert_eq!((&scored["totals"], &scored["items"]), (&said["totals"], &said["items"]));

    // Ended in the middle of a line.
    let half = want[..4].join("\n") + "\n" + &want[4][..want[4].len() / 2];
    std::fs::write(&torn, half).unwrap();
    hive(&words(&torn, &[])).code(0).complains(&["3 of 10 answers are in"]);
    assert_eq!(lines(Path::new(&torn)), want);

    // Killed for good.
    let mut child = command(&words(&killed, &[])).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(120);
    while lines(Path::new(&killed)).len() < 3 && child.try_wait().unwrap().is_none() && Instant::now() < end {
        sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    hive(&words(&killed, &[])).code(0);
    assert_eq!(lines(Path::new(&killed)), want);

    // Another question of data, model or settings is another run; nothing of the file is lost.
    hive(&words(&whole, &["--limit", "4"])).code(1).complains(&["another run", "items", "data"]);
    hive(&words(&whole, &["--tiles", "1"])).code(1).complains(&["another run", "tiles"]);
    hive(&words(&whole, &["--room", "900"])).code(1).complains(&["another run", "room"]);
    assert_eq!(lines(Path::new(&whole)), want);
    // Whatever is somebody else's stays as it is, with an end to its last line or without.
    let other = want[0].clone() + "\n" + &want[1] + "\ntor";
    let other = other.replacen("\"tiles\":\"all\"", "\"tiles\":\"1\"", 1);
    for (own, says) in [
        ("a list of my own\n", "no answer of this command"),
        ("{\"scores\": [1, 2]}", "no answer of this command"),
        ("{\"scores\": [1, 2]}\n{\"sco", "no answer of this command"),
        (other.as_str(), "another run: it differs in tiles"),
    ] {
        std::fs::write(&torn, own).unwrap();
        hive(&words(&torn, &[])).code(1).complains(&[says]);
        assert_eq!(std::fs::read_to_string(&torn).unwrap(), own);
    }
    // This run's own first line, torn.
    std::fs::write(&torn, &want[0][..20]).unwrap();
    hive(&words(&torn, &["--json"])).code(0);
    assert_eq!(lines(Path::new(&torn)), want);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let inner = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &inner);
        } else {
            std::fs::copy(&path, &inner).unwrap();
        }
    }
}

/// An item that cannot be asked about is named and tried again; all others are answered.
#[test]
fn a_picture_that_is_broken_costs_its_own_items_alone() {
    if !adapter() {
        return;
    }
    let folder = folder("question-set-broken");
    let (data, out) = (folder.join("data"), folder.join("answers.jsonl"));
    copy(&repository(MME), &data);
    let inner = data.join("MME_Benchmark_release_version/MME_Benchmark");
    let (broken, other) = (inner.join("artwork/images/90001.jpg"), inner.join("count/000000000102.jpg"));
    let whole = std::fs::read(&broken).unwrap();
    std::fs::write(&broken, "<html>404</html>").unwrap();
    let all = ["eval", "--task", "mme", "--data", text(&data), "--model", MODEL, "--weights", "f32", "--json"];
    let run = || hive(&[&all[..], &["--out", text(&out)]].concat());
    let notes = |said: &Value| said["notes"].to_string();

    let said = run().code(0).complains(&["8 of 10 answers are in", "2 items have no answer"]).json();
    for says in [
        "item 4 (artwork/90001.jpg): it has no answer: ",
        "artwork/images/90001.jpg: it is no picture",
        "2 of 10 items are left out of the totals",
    ] {
        assert!(notes(&said).contains(says), "{says}: {said}");
    }
    let errors = |out: &Path| lines(out).iter().filter(|line| line.contains("it is no picture")).count();
    assert_eq!((lines(&out).len(), errors(&out)), (11, 2));
    // So it is where the file is scored by itself.
    let scored = hive(&["eval", "--task", "mme", "--score", text(&out), "--json"]).code(0).json();
    assert_eq!((&scored["totals"], &scored["items"]), (&said["totals"], &said["items"]));
    // It is tried again, with the same picture and with a better one.
    run().code(0);
    assert_eq!((lines(&out).len(), errors(&out)), (13, 4));
    std::fs::write(&broken, &whole).unwrap();
    let said = run().code(0).complains(&["8 of 10 answers are in", "10 of 10 answers are in"]).json();
    assert!(!notes(&said).contains("no answer"), "{said}");
    let scored = hive(&["eval", "--task", "mme", "--score", text(&out), "--json"]).code(0).json();
    assert_eq!((&scored["totals"], &scored["items"]), (&said["totals"], &said["items"]));
    run().code(0);
    // Pictures that were answered about are those of the run, also one that was broken once.
    for path in [&broken, &other] {
        let own = std::fs::read(path).unwrap();
        std::fs::write(path, [&own[..], b"more"].concat()).unwrap();
        run().code(1).complains(&["another run: it differs in pictures"]);
        std::fs::write(path, own).unwrap();
    }
    assert_eq!(lines(&out).len(), 15);
}

#[test]
fn what_is_missing_is_said() {
    let eval = |more: &[&str]| hive(&[&["eval"], more].concat());
    eval(&["--task", "mmee"]).code(2).complains(&["--task is one of mme, gqa, ok_vqa", "not \"mmee\""]);
    eval(&["--task", "mme"]).code(2).complains(&["--data DIR is missing"]);
    eval(&["--task", "mme", "--data", MME]).code(2).complains(&["--model MODEL is missing"]);
    eval(&["--task", "gqa", "--rules", "official", "--score", "x"])
        .code(2)
        .complains(&["gqa is read here by", "lmms-0.7.3"]);
    eval(&["--task", "gqa", "--score", "x", "--data", MME]).code(2).complains(&["--score is by itself"]);
    eval(&["--task", "gqa", "--score", "no-such-file.json"]).code(1).complains(&["no-such-file.json"]);
}
