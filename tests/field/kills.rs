//! Programs that are ended at a random moment by any signal: nothing torn is left, what killed programs left in the making is
//! cleared up by the next call, and what goes on comes to the same bits. `HIVE_KILLS=300` makes so many instead of a few;
//! `HIVE_KILLS_SEED` chooses other moments.
#![allow(clippy::disallowed_methods, reason = "makes and breaks files as users do")]
#![cfg(unix)]

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use hive::data::rng::Rng;
use hive::train::checkpoint::Checkpoint;
use serde_json::Value;

use super::places::contents;
use crate::common::hub::{self, NAME, small_hub, weights};
use crate::common::program::{Said, adapter, command, folder, hive, picture, start, text};
use crate::common::server::{Reply, Server, file};

/// Signals by their names and numbers.
const SIGNALS: [(&str, i32); 3] = [("INT", 2), ("TERM", 15), ("KILL", 9)];

/// How a program ended that got a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// By itself, with a sentence and the signal's exit code.
    Order,
    /// At once: before it listened, or by the signal that nobody hears.
    Once,
    /// The signal came too late.
    Done,
}

/// What came of the kills of a command by a signal.
#[derive(Debug, Default)]
struct Count {
    order: usize,
    once: usize,
    done: usize,
    /// Steps that were made again.
    again: usize,
}

struct Kills {
    rng: Rng,
    counts: BTreeMap<(&'static str, &'static str), Count>,
}

/// A program that got a signal.
struct Ended {
    signal: &'static str,
    end: End,
    said: Said,
}

/// One that is gone hears nothing.
fn send(child: &Child, signal: &str) {
    let id = child.id().to_string();
    Command::new("kill").args(["-s", signal, &id]).stderr(Stdio::null()).status().unwrap();
}

/// It ends within so many seconds.
#[track_caller]
fn gone(child: &mut Child, secs: u64) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if start.elapsed() > Duration::from_secs(secs) {
            child.kill().unwrap();
            panic!("it goes on");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Kills {
    /// Runs a program of which `whole` is the time it takes, and sends it a signal in between.
    fn kill(&mut self, name: &'static str, mut command: Command, signal: usize, whole: Duration) -> Ended {
        let (signal, number) = SIGNALS[signal];
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(whole.mul_f32(self.rng.uniform(0.0, 1.0)));
        send(&child, signal);
        let output = child.wait_with_output().unwrap();
        let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        let status = output.status;
        let end = match status.code() {
            Some(0) => End::Done,
            Some(code) if code == 128 + number => End::Order,
            None if status.signal() == Some(number) => End::Once,
            _ => panic!("{name}, {signal}: {status}\n{err}"),
        };
        assert!(end != End::Order || err.contains("hive: stopped"), "{name}, {signal}: {err}");
        let count = self.counts.entry((name, signal)).or_default();
        *match end {
            End::Order => &mut count.order,
            End::Once => &mut count.once,
            End::Done => &mut count.done,
        } += 1;
        Ended { signal, end, said: Said { code: status.code(), out, err } }
    }

    fn table(&self) -> String {
        let mut table = String::from("command   signal  kills  in order  at once  too late  steps made again\n");
        for ((name, signal), c) in &self.counts {
            let kills = c.order + c.once + c.done;
            let row = format!(
                "{name:<9} {signal:<6} {kills:>6} {:>9} {:>8} {:>9} {:>17}\n",
                c.order, c.once, c.done, c.again
            );
            table.push_str(&row);
        }
        table
    }
}

/// Only these names are there; where a program was ended at once, also what it had in the making.
#[track_caller]
fn only(place: &Path, names: &[&str], end: End) {
    let left = |n: &String| {
        let making =
            n.ends_with(".partial") || n.ends_with(".hive-partial") || n.ends_with(".hive-old") || n == ".hive-run";
        !(names.contains(&n.as_str()) || end == End::Once && making)
    };
    let more: Vec<String> = hive::platform::list_folder(place).unwrap().into_iter().filter(left).collect();
    assert_eq!(more, [""; 0], "{}, {end:?}", place.display());
}

/// A checkpoint that is in its place opens.
fn opened(path: &Path) -> Option<Checkpoint> {
    let bytes = std::fs::read(path).ok()?;
    Some(Checkpoint::from_bytes(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
}

/// What it gives, and how long it takes.
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    (work(), start.elapsed())
}

fn said(mut command: Command) -> Said {
    let output = command.output().unwrap();
    Said::of(output)
}

/// The steps that a program told in full.
fn steps(out: &str) -> Vec<String> {
    let whole = out.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().filter(|l| l.starts_with('{')).map(str::to_owned).collect()
}

/// Words of a training and of what goes on with it.
const STEPS: [&str; 5] = ["--json", "--questions", "4", "--save-every", "1"];

/// A training of a folder, whose text is read first, or of generated data.
struct Training {
    data: Option<PathBuf>,
    steps: Vec<String>,
    bytes: Vec<u8>,
    whole: Duration,
}

impl Training {
    fn new(data: Option<PathBuf>) -> Self {
        let (out, mut this) =
            (folder("kills-whole"), Self { data, steps: vec![], bytes: vec![], whole: Duration::ZERO });
        let (whole, secs) = timed(|| said(this.begin(&out)).code(0));
        this.bytes = std::fs::read(out.join("checkpoint.safetensors")).unwrap();
        (this.steps, this.whole) = (steps(&whole.out), secs);
        this
    }

    fn command(&self, out: &Path, words: &[&str]) -> Command {
        let mut command = command(&["train", "--out", text(out)]);
        command.args(STEPS).args(words);
        if let Some(data) = &self.data {
            command.args(["--data", text(data)]);
        }
        command
    }

    fn begin(&self, out: &Path) -> Command {
        self.command(out, &["--preset", "tiny", "--steps", "3", "--start", text(start())])
    }

    fn kill(&self, kills: &mut Kills, signal: usize) {
        let out = folder("kills-train");
        let path = out.join("checkpoint.safetensors");
        let ended = kills.kill("train", self.begin(&out), signal, self.whole);
        let report = self.data.as_ref().map(|_| "report.html");
        let files: Vec<&str> = ["checkpoint.safetensors"].into_iter().chain(report).collect();
        only(&out, &files, ended.end);
        let left = opened(&path);
        assert!(ended.end == End::Once || left.is_some(), "nothing is saved: {}", ended.said.err);
        let rest = if left.is_some() { self.command(&out, &["--resume", text(&path)]) } else { self.begin(&out) };
        let after = steps(&said(rest).code(0).out);
        let mut all = steps(&ended.said.out);
        let again = (all.len() + after.len()).saturating_sub(self.steps.len());
        // What is shown is saved, unless nobody hears the signal.
        let most = if ended.end == End::Order { 0 } else { 1 };
        assert!(again <= most, "{again} steps are made again after {}: {}", ended.signal, ended.said.err);
        all.truncate(all.len() - again);
        all.extend(after);
        assert_eq!(all, self.steps);
        assert!(std::fs::read(&path).unwrap() == self.bytes, "the file differs from that of the uninterrupted run");
        assert_eq!(hive::platform::list_folder(&out).unwrap(), files);
        kills.counts.get_mut(&("train", ended.signal)).unwrap().again += again;
    }
}

/// A demo, and what it trains.
struct Demo {
    trained: Checkpoint,
    whole: Duration,
}

impl Demo {
    fn words(out: &Path) -> Command {
        command(&["demo", "--preset", "tiny", "--steps", "2", "--questions", "4", "--out", text(out)])
    }

    fn new() -> Self {
        let out = folder("kills-demo-whole");
        let (_, whole) = timed(|| said(Self::words(&out)).code(0));
        Self { trained: opened(&out.join("checkpoint.safetensors")).unwrap(), whole }
    }

    fn kill(&self, kills: &mut Kills, signal: usize) {
        let out = folder("kills-demo");
        let path = out.join("checkpoint.safetensors");
        let ended = kills.kill("demo", Self::words(&out), signal, self.whole);
        only(&out, &["checkpoint.safetensors", "report.html"], ended.end);
        if let Ok(page) = std::fs::read_to_string(out.join("report.html")) {
            assert!(page.ends_with("</html>\n"), "the report is torn");
        }
        let left = opened(&path);
        assert!(ended.end == End::Once || left.is_some(), "nothing is saved: {}", ended.said.err);
        match left {
            Some(_) => drop(hive(&["train", "--resume", text(&path), "--out", text(&out), "--questions", "4"]).code(0)),
            None => drop(said(Self::words(&out)).code(0)),
        }
        let (made, want) = (opened(&path).unwrap(), &self.trained);
        assert_eq!((made.meta.stage, made.meta.update), (want.meta.stage, want.meta.update));
        assert!(made.weights == want.weights, "the model differs from that of the uninterrupted demo");
        only(&out, &["checkpoint.safetensors", "report.html"], End::Done);
    }
}

/// Its name, and its files.
type Model = (&'static str, Vec<(String, Vec<u8>)>);

/// A folder that one model after the other is written to.
struct Converting {
    /// Models by their names, the one that is there last.
    models: [Model; 2],
    base: PathBuf,
    whole: Duration,
}

impl Converting {
    fn words(name: &str, place: &Path) -> Command {
        command(&["convert", name, text(place), "--force"])
    }

    fn new() -> Self {
        let base = folder("kills-convert");
        let (models, whole) = timed(|| {
            ["pictures", "shapes"].map(|name| {
                said(Self::words(name, &base.join("m"))).code(0);
                (name, contents(&base.join("m")))
            })
        });
        assert!(models[0].1 != models[1].1);
        Self { models, base, whole: whole / 2 }
    }

    fn kill(&mut self, kills: &mut Kills, signal: usize) {
        let (place, [next, there]) = (self.base.join("m"), &self.models);
        let ended = kills.kill("convert", Self::words(next.0, &place), signal, self.whole);
        only(&self.base, &["m"], ended.end);
        let now = contents(&place);
        assert!(now == there.1 || now == next.1, "neither of both after {}", ended.signal);
        assert!(ended.end != End::Order || now == there.1, "{}", ended.said.err);
        said(Self::words(next.0, &place)).code(0);
        assert!(contents(&place) == next.1);
        only(&self.base, &["m"], End::Done);
        self.models.reverse();
    }
}

/// A model on a server that takes its time.
struct Fetching {
    server: Server,
    whole: Duration,
}

impl Fetching {
    fn new() -> Self {
        let server = small_hub(|asked, bytes| {
            let own = file(asked, bytes, "\"e\"");
            asked.path.ends_with(NAME).then(|| Reply { pause: Duration::from_millis(3), ..own })
        });
        let to = hub::scratch("kills-whole");
        let (_, whole) = timed(|| said(Self::words(&server, &to)).code(0));
        Self { server, whole }
    }

    fn words(server: &Server, to: &Path) -> Command {
        hub::hive(&["fetch", "some/model", "--to", text(to)], to, &server.address)
    }

    fn kill(&self, kills: &mut Kills, signal: usize) {
        let to = hub::scratch("kills");
        let ended = kills.kill("fetch", Self::words(&self.server, &to), signal, self.whole);
        let all = [("config.json", b"{}".to_vec()), ("tokenizer.json", b"{\"a\": 1}".to_vec()), (NAME, weights(0))];
        let manifest = "hive-fetch.json";
        std::fs::create_dir_all(&to).unwrap();
        let parts = all.each_ref().map(|(name, _)| format!("{name}.part"));
        only(
            &to,
            &[&all.each_ref().map(|a| a.0)[..], &[manifest], &parts.each_ref().map(String::as_str)].concat(),
            ended.end,
        );
        for ((name, bytes), part) in all.iter().zip(&parts) {
            assert!(std::fs::read(to.join(name)).map_or(true, |have| have == *bytes), "{name} is not whole");
            assert!(
                std::fs::read(to.join(part)).map_or(true, |have| bytes.starts_with(&have)),
                "{part} is of another file"
            );
        }
        if let Ok(text) = std::fs::read(to.join(manifest)) {
            serde_json::from_slice::<Value>(&text).unwrap();
        }
        let len = |name: &str| std::fs::metadata(to.join(name)).map_or(0, |m| m.len() as usize);
        let have = len(NAME) + len(&parts[2]);
        if to.join(manifest).exists() {
            std::fs::write(to.join("hive-fetch.json.1-2.partial"), "{").unwrap();
        }
        self.server.take();
        let again = said(Self::words(&self.server, &to)).code(0);
        assert!(!again.err.contains("another program"), "{}", again.err);
        assert_eq!(self.server.sent(NAME), hub::WEIGHTS - have, "what was there is fetched again");
        assert!(all.iter().all(|(name, bytes)| std::fs::read(to.join(name)).unwrap() == *bytes));
        only(&to, &["config.json", "tokenizer.json", NAME, manifest], End::Done);
    }
}

/// A folder of pictures of one colour with their list.
fn pictures() -> PathBuf {
    let here = folder("kills-pictures");
    let mut lines = Vec::new();
    for (word, colour) in [("red", [220, 30, 30]), ("green", [30, 200, 30]), ("blue", [40, 40, 230])] {
        picture(&here.join(format!("{word}.png")), colour);
        let turns = r#"[{"from": "human", "value": "<image>"}, {"from": "gpt", "value": "It is WORD."}]"#;
        lines.push(format!(r#"{{"id": "WORD", "image": "WORD.png", "conversations": {turns}}}"#).replace("WORD", word));
    }
    std::fs::write(here.join("list.jsonl"), lines.join("\n")).unwrap();
    here
}

#[test]
fn whenever_a_program_is_ended_nothing_is_torn_and_what_goes_on_is_the_same() {
    let number = |name: &str| std::env::var(name).ok().map(|n| n.parse::<usize>().unwrap());
    let (many, seed) = (number("HIVE_KILLS"), number("HIVE_KILLS_SEED").unwrap_or(1));
    let mut kills = Kills { rng: Rng::new(seed as u64, 0), counts: BTreeMap::new() };
    let (mut converting, fetching) = (Converting::new(), Fetching::new());
    let training = adapter().then(|| {
        let mut all = vec![Training::new(Some(pictures()))];
        all.extend(many.map(|_| Training::new(None)));
        (all, Demo::new())
    });
    for round in 0..many.unwrap_or(12) {
        let signal = (round + round / 3) % 3;
        match (round % 6, &training) {
            (2, Some((trainings, _))) => trainings[round / 6 % trainings.len()].kill(&mut kills, signal),
            (5, Some((_, demo))) => demo.kill(&mut kills, signal),
            (0 | 3, _) => converting.kill(&mut kills, signal),
            _ => fetching.kill(&mut kills, signal),
        }
    }
    std::io::Write::write_all(&mut std::io::stdout(), kills.table().as_bytes()).unwrap();
    let in_order: usize = kills.counts.values().map(|c| c.order).sum();
    assert!(in_order > 0, "no signal came in time");
}

/// Runs what does not end by itself, and ends it by Ctrl-C once it listens; code 130.
fn interrupted(words: &[&str]) -> Said {
    let mut wait = Duration::from_millis(700);
    loop {
        let mut child = command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(wait);
        send(&child, "INT");
        let ended = child.try_wait().unwrap();
        gone(&mut child, 20);
        let output = child.wait_with_output().unwrap();
        let by = output.status.signal();
        let said = Said::of(output);
        assert!(ended.is_none(), "{words:?} ended before: {}", said.err);
        if by != Some(2) {
            return said.code(130);
        }
        wait *= 2;
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    if !adapter() {
        return;
    }
    let out = folder("kills-second");
    // A step that takes longer than anybody waits.
    let words =
        ["train", "--preset", "tiny", "--stage", "1", "--set", "stages.0.1.accumulate=60000", "--out", text(&out)];
    let mut wait = Duration::from_millis(700);
    loop {
        let mut child = command(&words).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(wait);
        send(&child, "INT");
        // As `timeout` does, which sends it to the program and to its group.
        std::thread::sleep(Duration::from_millis(100));
        send(&child, "INT");
        std::thread::sleep(Duration::from_millis(1500));
        if let Some(status) = child.try_wait().unwrap() {
            assert_eq!(status.signal(), Some(2), "it did not finish its step");
            wait *= 2;
            continue;
        }
        send(&child, "TERM");
        assert_eq!(gone(&mut child, 5).code(), Some(143));
        return only(&out, &[], End::Once);
    }
}

#[test]
fn every_long_command_ends_in_order_and_says_what_is_kept() {
    if !adapter() {
        return;
    }
    let out = folder("kills-long");
    let at = |name: &str| out.join(name).to_str().unwrap().to_owned();
    for part in ["vision", "language"] {
        let (file, unfinished) = (at("s.safetensors"), at(&format!("s.{part}.unfinished")));
        let endless = ["--preset", "tiny", "--steps", "1000000", "--out", &file];
        interrupted(&[&["pretrain", part], &endless[..]].concat()).complains(&["saved", "--resume", &unfinished]);
        let first = opened(Path::new(&unfinished)).unwrap();
        interrupted(&["pretrain", part, "--resume", &unfinished, "--out", &file]).complains(&["saved"]);
        let second = opened(Path::new(&unfinished)).unwrap();
        assert!(second.meta.update > first.meta.update && first.meta.update > 0, "it began again");
        assert!(!Path::new(&file).exists());
        let other = if part == "vision" { "language" } else { "vision" };
        hive(&["pretrain", other, "--resume", &unfinished]).code(1).complains(&["no pre-training of", other]);
        hive(&["train", "--resume", &unfinished, "--out", &at("t")]).code(1).complains(&["hive pretrain"]);
        hive(&["pretrain", part, "--resume", &unfinished, "--steps", "3"]).code(2).complains(&["--steps"]);
    }
    // A folder's text: without a step of a stage there is a run to go on with.
    let (data, to) = (pictures(), at("t"));
    let words = ["--data", text(&data), "--out", &to];
    let run = at("t/checkpoint.safetensors");
    interrupted(&[&["train", "--preset", "grounds"], &words[..]].concat()).complains(&["--resume", &run, "--data"]);
    let first = opened(Path::new(&run)).unwrap();
    interrupted(&[&["train", "--resume", &run], &words[..]].concat());
    let second = opened(Path::new(&run)).unwrap();
    assert!(first.meta.stage.is_none() && second.meta.update > first.meta.update, "it began again");

    let figures = at("figures.json");
    std::fs::write(&figures, "{}").unwrap();
    let long = ["--set", "stages.0.1.steps=1000000"];
    let words = [&["lessons", "--preset", "tiny", "--out", &figures, "--questions", "2"], &long[..]].concat();
    interrupted(&words).complains(&["nothing is kept", "Begin again"]);
    assert_eq!(std::fs::read_to_string(&figures).unwrap(), "{}");
    let study = at("study");
    let words = ["study", "--preset", "tiny", "--start", text(start()), "--out", &study, "--jobs", "2"];
    let said = interrupted(&[&words, &long[..]].concat());
    said.complains(&["nothing is done yet", "study.json", "goes on"]);
    assert_eq!(hive::platform::list_folder(Path::new(&study)).unwrap(), [""; 0]);
}

#[test]
fn a_fetch_that_waits_for_its_server_ends_at_once() {
    let server = Server::start(|_| Reply::status(503).with("retry-after", "60"));
    let to = hub::scratch("kills-waits");
    let mut child = hub::hive(&["fetch", "some/model"], &to, &server.address).stderr(Stdio::piped()).spawn().unwrap();
    let mut err = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut err, &mut line).unwrap();
    assert!(line.contains("status 503"), "{line}");
    send(&child, "TERM");
    assert_eq!(gone(&mut child, 5).code(), Some(143));
    // It may have asked once more.
    std::io::Read::read_to_string(&mut err, &mut line).unwrap();
    assert!(line.contains("Go on with: hive fetch some/model"), "{line}");
}
