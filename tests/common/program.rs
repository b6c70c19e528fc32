//! The program, run as its users run it, and a training that several tests look at.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use hive::gpu::GpuOptions;
use serde_json::Value;

use super::{open, preset, start_file};

pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// The program ended in order with this code; a panic never is.
    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Self {
        let Self { out, err, .. } = &self;
        assert_eq!(self.code, Some(code), "\n{out}\n{err}");
        assert!(!err.contains("panicked"), "{err}");
        self
    }

    /// And said all of this on standard error.
    #[track_caller]
    pub(crate) fn complains(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.err.contains(part), "\"{part}\" is not in: {}", self.err);
        }
        self
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}", self.out))
    }

    /// The lines of training steps.
    pub(crate) fn steps(&self) -> Vec<String> {
        self.out.lines().filter(|l| l.starts_with('{') && l.contains("\"step\"")).map(str::to_owned).collect()
    }
}

pub(crate) fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hive"));
    command.args(words).stdin(Stdio::null());
    command
}

pub(crate) fn hive(words: &[&str]) -> Said {
    Said::of(command(words).output().unwrap())
}

/// The same with this on its standard input.
pub(crate) fn hive_reading(words: &[&str], input: &[u8]) -> Said {
    let pipes = command(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = pipes.unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    Said::of(child.wait_with_output().unwrap())
}

/// An empty folder for one test.
pub(crate) fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cli-{name}"));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Without an adapter, says so and gives false (or fails, with `HIVE_REQUIRE_GPU=1`).
pub(crate) fn adapter() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| open(&GpuOptions::default()).is_some())
}

/// Start weights of the tiny preset.
pub(crate) fn start() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let path = folder("start").join("start.safetensors");
        std::fs::write(&path, start_file(&preset("tiny"), 9)).unwrap();
        path
    })
}

/// `hive train --preset tiny` from the start weights.
pub(crate) fn train(out: &Path, more: &[&str]) -> Said {
    let words =
        ["train", "--preset", "tiny", "--json", "--questions", "10", "--start", text(start()), "--out", text(out)];
    hive(&[&words, more].concat())
}

pub(crate) struct Trained {
    pub(crate) steps: Vec<String>,
    pub(crate) file: PathBuf,
    pub(crate) bytes: Vec<u8>,
}

/// All three stages, never interrupted.
pub(crate) fn trained() -> &'static Trained {
    static TRAINED: OnceLock<Trained> = OnceLock::new();
    TRAINED.get_or_init(|| {
        let out = folder("whole");
        let steps = train(&out, &[]).code(0).steps();
        let file = out.join("checkpoint.safetensors");
        Trained { steps, bytes: std::fs::read(&file).unwrap(), file }
    })
}

/// A picture of one colour.
pub(crate) fn picture(path: &Path, colour: [u8; 3]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    image::RgbImage::from_pixel(40, 30, image::Rgb(colour)).save(path).unwrap();
}
