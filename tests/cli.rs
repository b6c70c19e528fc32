//! The program as its users meet it: exit codes, messages, resuming, broken files, folders of their own.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "makes and breaks files as users do")]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use common::{open, preset, repository, start_file};
use hive::gpu::{Gpu, GpuOptions};
use hive::platform::block_on;
use hive::train::checkpoint::Checkpoint;
use hive::train::stage::Stage;
use serde_json::Value;

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    /// The program ended in order with this code; a panic never is.
    #[track_caller]
    fn code(self, code: i32) -> Self {
        let Self { out, err, .. } = &self;
        assert_eq!(self.code, Some(code), "\n{out}\n{err}");
        assert!(!err.contains("panicked"), "{err}");
        self
    }

    /// And said all of this on standard error.
    #[track_caller]
    fn complains(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.err.contains(part), "\"{part}\" is not in: {}", self.err);
        }
        self
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}", self.out))
    }

    /// The lines of training steps.
    fn steps(&self) -> Vec<String> {
        self.out.lines().filter(|l| l.starts_with('{')).map(str::to_owned).collect()
    }
}

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hive"));
    command.args(words).stdin(Stdio::null());
    command
}

fn hive(words: &[&str]) -> Said {
    let output = command(words).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// An empty folder for one test.
fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cli-{name}"));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Without an adapter, says so and gives false (or fails, with `HIVE_REQUIRE_GPU=1`).
fn adapter() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| open(&GpuOptions::default()).is_some())
}

/// Start weights of the tiny preset.
fn start() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let path = folder("start").join("start.safetensors");
        std::fs::write(&path, start_file(&preset("tiny"), 9)).unwrap();
        path
    })
}

/// `hive train --preset tiny` from the start weights.
fn train(out: &Path, more: &[&str]) -> Said {
    let words =
        ["train", "--preset", "tiny", "--json", "--questions", "10", "--start", text(start()), "--out", text(out)];
    hive(&[&words, more].concat())
}

struct Trained {
    steps: Vec<String>,
    file: PathBuf,
    bytes: Vec<u8>,
}

/// All three stages, never interrupted.
fn trained() -> &'static Trained {
    static TRAINED: OnceLock<Trained> = OnceLock::new();
    TRAINED.get_or_init(|| {
        let out = folder("whole");
        let steps = train(&out, &[]).code(0).steps();
        let file = out.join("checkpoint.safetensors");
        Trained { steps, bytes: std::fs::read(&file).unwrap(), file }
    })
}

/// A picture of one colour.
fn picture(path: &Path, colour: [u8; 3]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    image::RgbImage::from_pixel(40, 30, image::Rgb(colour)).save(path).unwrap();
}

#[test]
fn version_help_and_wrong_words() {
    assert_eq!(hive(&["--version"]).code(0).out, concat!("hive ", env!("CARGO_PKG_VERSION"), "\n"));
    let help = hive(&["--help"]).code(0).out;
    assert!(["train", "ask", "verify", "parity", "doctor"].iter().all(|c| help.contains(c)), "{help}");
    assert_eq!(hive(&[]).code(2).out, help);
    hive(&["trian"]).code(2).complains(&["no command called \"trian\"", "hive --help"]);
    hive(&["verify", "--sabotaged"]).code(2).complains(&["unknown option --sabotaged", "--sabotage"]);
    hive(&["ask", "one.png"]).code(2).complains(&["needs an image and a question"]);
    for command in ["train", "pretrain", "eval", "convert", "quantise", "parity", "verify", "doctor", "bench"] {
        assert!(!hive(&[command, "--help"]).code(0).out.is_empty(), "{command}");
    }
}

#[test]
fn verify_speaks_json_and_fails_for_unknown_operations() {
    if !adapter() {
        return;
    }
    let said = hive(&["verify", "add", "--json"]).code(0).json();
    let cases = said["cases"].as_array().unwrap();
    assert!(cases.len() >= 3 && cases.iter().all(|c| c["op"] == "add" && c["passed"] == true), "{said}");
    assert_eq!(said["failed"].as_array().unwrap().len(), 0);
    hive(&["verify", "nosuch"]).code(1).complains(&["no operation called \"nosuch\""]);
}

#[test]
fn an_adapter_that_is_not_there() {
    if !adapter() {
        return;
    }
    let said = hive(&["verify", "add", "--adapter", "nosuch"]).code(3).complains(&["nosuch", "--adapter"]);
    for adapter in block_on(Gpu::adapters()) {
        assert!(said.err.contains(&adapter.name), "{} is not listed: {}", adapter.name, said.err);
    }
}

#[test]
fn parity_on_a_fixture_a_wrong_one_and_none() {
    if !adapter() {
        return;
    }
    let fixture = repository("tests/fixtures/llama");
    let said = hive(&["parity", text(&fixture)]).code(0).out;
    assert!(said.contains("1 of 1 fixtures passed") && said.contains("gradients"), "{said}");
    let said = hive(&["parity", text(&fixture), "--json"]).code(0).json();
    assert!(said["groups"].as_array().unwrap().iter().all(|g| g["passed"] == true), "{said}");

    let broken = folder("fixtures").join("broken");
    std::fs::create_dir_all(&broken).unwrap();
    for name in ["config.json", "model.safetensors", "io.safetensors"] {
        std::fs::copy(fixture.join(name), broken.join(name)).unwrap();
    }
    let config = std::fs::read_to_string(broken.join("config.json")).unwrap();
    let other = config.replace("\"rope_theta\": 1", "\"rope_theta\": 2");
    assert_ne!(config, other);
    std::fs::write(broken.join("config.json"), other).unwrap();
    hive(&["parity", text(broken.parent().unwrap())]).code(1).complains(&["parity fails for broken"]);

    let none = folder("no-fixtures");
    hive(&["parity", text(&none)]).code(1).complains(&["no fixture", text(&none)]);
    hive(&["parity", text(&none.join("nowhere"))]).code(1).complains(&["cannot read", "nowhere"]);
}

#[test]
fn ask_answers_and_names_the_files_it_cannot_use() {
    if !adapter() {
        return;
    }
    let here = folder("ask");
    let model = text(&trained().file);
    let image = here.join("red.png");
    picture(&image, [200, 20, 20]);
    let said = hive(&["ask", text(&image), "what is it", "--model", model, "--json"]).code(0).json();
    assert!(said["question"] == "what is it ?" && said["words"].is_array(), "{said}");
    let missing = here.join("nowhere.png");
    hive(&["ask", text(&missing), "what is it ?", "--model", model])
        .code(1)
        .complains(&["cannot read", text(&missing)]);
    let bad = here.join("bad.png");
    std::fs::write(&bad, "this is no picture").unwrap();
    hive(&["ask", text(&bad), "what is it ?", "--model", model]).code(1).complains(&[text(&bad)]);
    let mut cut = std::fs::read(&image).unwrap();
    cut.truncate(cut.len() / 2);
    std::fs::write(&bad, cut).unwrap();
    hive(&["ask", text(&bad), "what is it ?", "--model", model]).code(1).complains(&[text(&bad)]);
    hive(&["ask", text(&image), "what is it ?", "--model", text(&here.join("none.safetensors"))])
        .code(1)
        .complains(&["none.safetensors"]);
    hive(&["ask", text(&image), "what is it ?", "--model", "nosuch"])
        .code(2)
        .complains(&["nosuch", "pictures", "shapes"]);
}

#[test]
fn a_torn_checkpoint_is_refused_in_a_sentence() {
    if !adapter() {
        return;
    }
    let here = folder("torn");
    let image = here.join("red.png");
    picture(&image, [200, 20, 20]);
    let whole = &trained().bytes;
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let torn = here.join("torn.safetensors");
    for length in [0, 1, 8, 100, header - 1, header, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&torn, &whole[..length]).unwrap();
        let said = hive(&["ask", text(&image), "what is it ?", "--model", text(&torn)]).code(1);
        assert!(said.err.contains("cut off") && said.err.lines().count() == 1, "{length} bytes: {}", said.err);
        hive(&["train", "--resume", text(&torn), "--out", text(&here)]).code(1).complains(&["cut off"]);
    }
    // A file of another kind, and one from the future.
    std::fs::copy(repository("tests/fixtures/llama/model.safetensors"), &torn).unwrap();
    hive(&["train", "--resume", text(&torn), "--out", text(&here)]).code(1).complains(&["no Hive checkpoint"]);
    let future = String::from_utf8_lossy(&whole[..header]).contains("\\\"format\\\":1");
    assert!(future, "the header has no format");
    let mut bytes = whole.clone();
    let at = whole.windows(13).position(|w| w == b"\\\"format\\\":1,").unwrap_or_else(|| panic!("no format")) + 11;
    bytes[at] = b'9';
    std::fs::write(&torn, bytes).unwrap();
    hive(&["train", "--resume", text(&torn), "--out", text(&here)]).code(1).complains(&["format 9", "Update Hive"]);
}

#[test]
fn two_runs_give_the_same_bits() {
    if !adapter() {
        return;
    }
    let out = folder("again");
    let again = train(&out, &[]).code(0).steps();
    let bits = |lines: &[String]| -> Vec<u64> {
        lines.iter().map(|l| serde_json::from_str::<Value>(l).unwrap()["bits"].as_u64().unwrap()).collect()
    };
    let steps: u64 = preset("tiny").stages.iter().map(|(_, r)| r.steps).sum();
    assert_eq!(again.len() as u64, steps);
    assert_eq!(bits(&again), bits(&trained().steps));
    assert!(std::fs::read(out.join("checkpoint.safetensors")).unwrap() == trained().bytes, "the files differ");
    let other = train(&folder("other-seed"), &["--seed", "77", "--stage", "1"]).code(0).steps();
    assert!(bits(&other) != bits(&trained().steps[..other.len()]), "another seed gives the same losses");
}

#[test]
fn a_killed_training_resumes_to_the_same_file() {
    if !adapter() {
        return;
    }
    let out = folder("killed");
    let file = out.join("checkpoint.safetensors");
    let mut steps: Vec<String> = train(&out, &["--save-every", "2", "--kill-after", "3"]).code(1).steps();
    assert_eq!(steps.len(), 3);
    steps.truncate(2);
    // What a kill during a save leaves behind.
    let partial = out.join("checkpoint.safetensors.partial");
    std::fs::write(&partial, &trained().bytes[..1000]).unwrap();
    let resume = |more: &[&str]| {
        let words =
            ["train", "--resume", text(&file), "--out", text(&out), "--json", "--questions", "10", "--save-every", "2"];
        hive(&[&words, more].concat())
    };
    // Four steps are left of stage 1; stage 2 is killed at its fifth, after a save at its fourth.
    steps.extend(resume(&["--kill-after", "5"]).code(1).steps());
    assert_eq!(steps.len(), 6 + 5);
    assert!(!partial.exists(), "a later save replaces the partial file");
    steps.truncate(6 + 4);
    std::fs::write(&partial, "").unwrap();
    steps.extend(resume(&[]).code(0).steps());
    assert_eq!(steps, trained().steps);
    assert!(std::fs::read(&file).unwrap() == trained().bytes, "the file differs from that of the uninterrupted run");
}

#[test]
fn a_kill_at_any_moment_leaves_a_whole_checkpoint() {
    if !adapter() {
        return;
    }
    for round in 0..4 {
        let out = folder("shot");
        let file = out.join("checkpoint.safetensors");
        let words = [
            "train",
            "--preset",
            "tiny",
            "--questions",
            "1",
            "--save-every",
            "1",
            "--start",
            text(start()),
            "--out",
            text(&out),
        ];
        let mut child = command(&words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut waited = 0;
        while !file.exists() && waited < 60_000 && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
            waited += 1;
        }
        std::thread::sleep(Duration::from_millis(7 * round));
        let _ = child.kill();
        child.wait().unwrap();
        let checkpoint = Checkpoint::from_bytes(&std::fs::read(&file).unwrap()).unwrap();
        assert!(
            checkpoint.meta.stage >= Some(Stage::Connector) && checkpoint.meta.update >= 1,
            "{:?}",
            checkpoint.meta
        );
    }
}

#[test]
fn set_and_preset_name_what_is_wrong() {
    if !adapter() {
        return;
    }
    let out = folder("set");
    train(&out, &["--set", "nosuch.key=1"]).code(2).complains(&["no key \"nosuch.key\""]);
    train(&out, &["--set", "tokens"]).code(2).complains(&["KEY=VALUE"]);
    train(&out, &["--set", "tokens=1"]).code(2).complains(&["tokens"]);
    train(&out, &["--set", "stages.0.1.learning_rate=fast"]).code(2).complains(&["preset"]);
    train(&out, &["--steps", "few"]).code(2).complains(&["--steps needs a number"]);
    hive(&["train", "--preset", "nosuch"]).code(2).complains(&["nosuch", "pictures", "tiny"]);
    hive(&["train", "--preset", text(&out.join("nosuch.json"))]).code(1).complains(&["nosuch.json"]);
    assert!(!out.join("checkpoint.safetensors").exists());
    // And a right one has an effect.
    let rate =
        train(&out, &["--stage", "1", "--steps", "1", "--set", "stages.0.1.learning_rate=0.002"]).code(0).steps();
    assert_eq!(serde_json::from_str::<Value>(&rate[0]).unwrap()["learning_rate"], 0.002);
}

#[test]
fn progress_in_a_pipe_is_whole_lines() {
    if !adapter() {
        return;
    }
    let out = folder("lines");
    let words = ["train", "--preset", "tiny", "--steps", "2", "--questions", "1", "--start", text(start())];
    let said = hive(&[&words[..], &["--out", text(&out)]].concat()).code(0);
    assert!(!said.err.contains('\r') && !said.out.contains('\r'), "{:?}", said.err);
    for stage in 1..=3 {
        let lines: Vec<_> = said.err.lines().filter(|l| l.starts_with(&format!("stage {stage} "))).collect();
        let last = lines.last().unwrap_or_else(|| panic!("nothing of stage {stage}: {}", said.err));
        assert!(last.contains("2 steps in ") && last.contains("loss "), "{}", said.err);
        assert_eq!(said.out.lines().filter(|l| l.starts_with(&format!("stage {stage}: exact"))).count(), 1);
    }
}

/// A LLaVA list about three pictures; the lines of `broken` (from 0) are spoilt.
fn llava(name: &str, broken: &[usize]) -> PathBuf {
    let here = folder(name);
    let mut lines = Vec::new();
    for (i, (word, colour)) in
        [("red", [220, 30, 30]), ("green", [30, 200, 30]), ("blue", [40, 40, 230])].into_iter().enumerate()
    {
        picture(&here.join(format!("images/{word}.png")), colour);
        for (turn, question) in ["<image>\\nWhat colour is it?", "<image>"].iter().enumerate() {
            lines.push(format!(
                r#"{{"id": "{i}-{turn}", "image": "images/{word}.png", "conversations": [{{"from": "human", "value": "{question}"}}, {{"from": "gpt", "value": "It is {word}."}}]}}"#
            ));
        }
    }
    for &line in broken {
        lines[line].truncate(30);
    }
    std::fs::write(here.join("list.jsonl"), lines.join("\n")).unwrap();
    here
}

#[test]
fn a_folder_of_ones_own_pictures() {
    if !adapter() {
        return;
    }
    let run = |data: &Path, out: &Path| train(out, &["--steps", "2", "--data", text(data)]);
    let (data, out) = (llava("llava", &[2]), folder("llava-out"));
    let said = run(&data, &out).code(0).complains(&["list.jsonl:3: ", "1 entries of list.jsonl were skipped"]);
    assert_eq!(said.steps().len(), 6, "{}", said.out);
    let checkpoint = Checkpoint::from_bytes(&std::fs::read(out.join("checkpoint.safetensors")).unwrap()).unwrap();
    assert!(checkpoint.meta.tokenizer.id("colour").is_some() && checkpoint.meta.preset.data == "folder");
    let model = out.join("checkpoint.safetensors");
    hive(&["ask", text(&data.join("images/red.png")), "What colour is it?", "--model", text(&model)]).code(0);

    // Nothing wrong: nothing is said of it.
    let said = run(&llava("llava-good", &[]), &out).code(0);
    assert!(!said.err.contains("list.jsonl"), "{}", said.err);
    run(&llava("llava-bad", &[0, 1, 3, 5]), &out)
        .code(1)
        .complains(&["4 of 6 entries in list.jsonl", "list.jsonl:1: "]);
    let missing = llava("llava-missing", &[]);
    for word in ["red", "green", "blue"] {
        std::fs::remove_file(missing.join(format!("images/{word}.png"))).unwrap();
    }
    run(&missing, &out).code(1).complains(&["6 of 6 entries in list.jsonl", "list.jsonl:1: ", ".png cannot be used"]);
    // One torn picture costs its entries, not the run.
    let torn = llava("llava-torn", &[]);
    std::fs::write(torn.join("images/red.png"), b"no picture").unwrap();
    run(&torn, &out).code(0).complains(&["images/red.png cannot be used", "2 entries of list.jsonl were skipped"]);
    run(&folder("llava-empty"), &out).code(1).complains(&["no conversation list"]);
}

#[test]
fn shipped_models_answer() {
    if !adapter() {
        return;
    }
    for model in ["pictures", "shapes"] {
        let scores = hive(&["eval", "--model", model, "--questions", "300", "--json"]).code(0).json();
        let share = |row: &str, part: &str| {
            let of = scores[row][part]["of"].as_f64().unwrap();
            assert!(of >= 50.0, "{model}: {scores}");
            scores[row][part]["hits"].as_f64().unwrap() / of
        };
        let (own, swapped, none) = (share("own picture", "all"), share("swapped", "all"), share("no picture", "all"));
        assert!(own >= 0.70, "{model}: {own} with the own picture");
        assert!(
            share("own picture", "several") >= 0.60,
            "{model}: {} with several things",
            share("own picture", "several")
        );
        assert!(swapped <= none + 0.1, "{model}: {swapped} with swapped pictures, {none} with none");
    }
}

#[test]
fn converting_replaces_nothing_unasked_and_leaves_nothing_half_done() {
    let here = folder("convert");
    let (model, half) = (here.join("model"), here.join("half"));
    let said = hive(&["convert", "shapes", text(&model), "--json"]).code(0).json();
    let files = said["files"].as_array().unwrap();
    for file in files {
        assert_eq!(std::fs::metadata(model.join(file["path"].as_str().unwrap())).unwrap().len(), file["bytes"]);
    }
    assert!(files.len() > 12 && model.join("language_model/tokenizer.json").exists(), "{said}");

    hive(&["convert"]).code(2).complains(&["needs FROM and OUT"]);
    hive(&["convert", text(&model), text(&half), "--dtype", "f8"]).code(2).complains(&["f32, f16 or bf16"]);
    hive(&["convert", text(&model), text(&half), "--weights", "f16"]).code(2).complains(&["int8 or int4", "--dtype"]);
    hive(&["convert", text(&model), text(&half), "--part", "head"]).code(2).complains(&["vision_tower"]);
    hive(&["convert", text(&model), text(&half), "--shard-size", "0"]).code(2).complains(&["at least 1 MB"]);
    hive(&["convert", "circles", text(&half)]).code(2).complains(&["circles", "pictures"]);
    hive(&["convert", text(&here.join("none.safetensors")), text(&half)]).code(1).complains(&["none.safetensors"]);
    hive(&["convert", text(&model.join("config.json")), text(&half)]).code(2).complains(&["*.safetensors"]);
    hive(&["convert", "--tower", text(&model), "--language", text(&model), text(&half)]).code(2);
    hive(&["convert", "shapes", text(&model)]).code(1).complains(&["not empty", "--force"]);
    hive(&["convert", "shapes", text(&model.join("config.json"))]).code(1).complains(&["config.json"]);
    // What is read must not lie where files are replaced.
    let weights = model.join("model.safetensors");
    for from in [&model, &model.join("vision_tower"), &weights] {
        hive(&["convert", text(from), text(&model), "--force"]).code(2).complains(&["is read and lies in"]);
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&model, here.join("link")).unwrap();
        let (link, twice) = (here.join("link"), here.join("model/../link"));
        hive(&["convert", text(&model), text(&link), "--force"]).code(2).complains(&["is read and lies in"]);
        hive(&["convert", text(&twice), text(&model), "--force"]).code(2).complains(&["is read and lies in"]);
        std::fs::remove_file(link).unwrap();
    }
    // A new folder inside one that is read takes nothing from it.
    let inner = model.join("bf16/deep");
    hive(&["convert", text(&model), text(&inner), "--dtype", "bf16", "--shard-size", "1"]).code(0);
    assert!(inner.join("config.json").exists());

    // Cut off, and numbers that f16 does not have: nothing is left of the attempt.
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(here.join("cut.safetensors"), &bytes[..bytes.len() - 9]).unwrap();
    hive(&["convert", text(&here.join("cut.safetensors")), text(&half)]).code(1).complains(&["cut.safetensors"]);
    let wide = here.join("wide.safetensors");
    let tensors = [("big".to_owned(), vec![2], &[1.0, 1e6][..])];
    std::fs::write(&wide, hive::model::weights::write(&tensors, hive::model::weights::Precision::F32).unwrap())
        .unwrap();
    let said = hive(&["convert", text(&wide), text(&half), "--dtype", "f16"]).code(1);
    said.complains(&["tensor big has 1 values beyond 65504", "bf16"]);
    assert_eq!(hive::platform::list_folder(&here).unwrap(), ["cut.safetensors", "model", "wide.safetensors"]);

    // With --force weights are replaced, in however many files, and other files stay.
    std::fs::create_dir(&half).unwrap();
    std::fs::write(half.join("notes.txt"), b"mine").unwrap();
    std::fs::write(half.join("model-00001-of-00002.safetensors"), b"old").unwrap();
    hive(&["convert", text(&model), text(&half)]).code(1);
    hive(&["convert", text(&model), text(&half), "--force", "--part", "language_model"]).code(0);
    let names = hive::platform::list_folder(&half).unwrap();
    let want = [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "notes.txt",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    assert_eq!(names, want);
}

#[test]
fn quantising_prints_errors_and_losses() {
    hive(&["quantise"]).code(2).complains(&["needs a folder"]);
    if !adapter() {
        return;
    }
    let here = folder("quantise");
    let (model, words) = (here.join("model"), here.join("words.txt"));
    hive(&["convert", "shapes", text(&model)]).code(0);
    std::fs::write(&words, "<image> what color is the circle ? red </s>").unwrap();
    let said = hive(&["quantise", text(&model), "--text", text(&words), "--json"]).code(0).json();
    let tensors = said["tensors"].as_array().unwrap();
    let named = |name: &str| tensors.iter().find(|t| t["name"] == name).unwrap_or_else(|| panic!("{name}: {said}"));
    let layer = named("model.layers.0.mlp.up_proj.weight");
    assert_eq!(layer["shape"], serde_json::json!([224, 96]));
    let rms: Vec<f64> = layer["errors"].as_array().unwrap().iter().map(|e| e["rms"].as_f64().unwrap()).collect();
    // The file holds f16 values.
    assert!(rms[0] == 0.0 && rms[1] > 1e-4 && rms[2] > 4.0 * rms[1], "{layer}");
    let losses = said["losses"].as_array().unwrap();
    assert!(losses.len() == 4 && losses[0]["change"] == 0.0 && losses[3]["change"] != 0.0, "{said}");

    let said = hive(&["quantise", text(&model), "--weights", "int8"]).code(0);
    assert!(said.out.contains("links.2.mm_proj.fc2.weight") && !said.out.contains("int4"), "{}", said.out);
    said.complains(&["does not know most words"]);
    hive(&["quantise", text(&model), "--weights", "int2"]).code(2).complains(&["int8 or int4"]);
    std::fs::write(&words, [0xff, 0xfe]).unwrap();
    hive(&["quantise", text(&model), "--text", text(&words)]).code(1).complains(&["words.txt is no text"]);
    hive(&["quantise", text(&model.join("vision_tower"))]).code(1).complains(&["vision tower alone"]);
}
