//! `hive lessons`: measures what the lessons quote, by what a learner does. The stages are trained from the start
//! weights, and the trained model is asked as the window asks it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::args::Args;
use super::demo::{instead, train_stage};
use super::depths::measure;
use super::fault::Fault;
use super::output::say;
use super::shared::{find_preset, gpu_options, open_gpu, read, stop_if_asked, write};
use crate::data::dataset::Dataset;
use crate::data::worlds::Split;
use crate::data::worlds::grounds::PLACES;
use crate::engine::assets::{self, FIRST, made_source};
use crate::engine::{
    AttentionMaps, Beside, Command, Event, GpuOptions, Handle, Open, Preset, Question, Stage, StepCost, Wiring, Word,
    worker,
};
use crate::gpu::Gpu;
use crate::nn::params::Weights;
use crate::platform::{block_on, watch_signals};
use crate::train::depths::Depths;
use crate::train::evaluate::{Label, Picture, Scores};
use crate::train::run::Run;

const HELP: &str = "\
hive lessons [--part stages|answers] [--preset NAME] [--out FILE] [--questions N]

Measures what the lessons quote and writes it to FILE (default assets/lessons/figures.json), in two parts:
  stages   accuracy (N held-out questions, default 300) after each stage, with links at four depths and at one,
           flattened, and with stages left out; what each depth of the tower knows before and after; what a step
           costs. Some 25 minutes on two cores.
  answers  what the trained model answers to the questions in assets/lessons/asked.json, also with changed
           pictures and with links cut.
--part measures one of them; the other stays as it stands in FILE. The program carries FILE, and its lessons show
the figures, once it is compiled again.
";

/// The file that the program carries.
const FILE: &str = "assets/lessons/figures.json";
/// The lessons' questions.
const ASKED: &str = include_str!("../../assets/lessons/asked.json");

/// A question that the lessons ask of the trained model.
#[derive(Debug, Deserialize)]
struct Asked {
    /// Its name in the figures.
    id: String,
    /// Number of the held-out picture.
    example: u64,
    question: String,
    /// Also with links cut?
    #[serde(default)]
    cut: bool,
}

/// Figures by name.
type Figures = Map<String, Value>;

pub(super) fn run(list: &[String]) -> Result<(), Fault> {
    let options = ["part", "preset", "out", "questions", "steps", "set"];
    let Some(args) = Args::or_help(list, (0, &options), &[], HELP)? else { return Ok(()) };
    let (part, out) = (args.option("part"), PathBuf::from(args.option("out").unwrap_or(FILE)));
    if let Some(other) = part.filter(|p| !["stages", "answers"].contains(p)) {
        return Err(Fault::usage(format!("--part is stages or answers, not \"{other}\"")));
    }
    let preset = find_preset(&args, FIRST)?;
    let mut figures = if part.is_some() { kept(&out)? } else { Figures::new() };
    figures.insert("preset".into(), json!(preset.name));
    watch_signals();
    if part != Some("answers") {
        let questions = args.number("questions")?.unwrap_or(300);
        figures.insert("costs".into(), costs(&args, &preset)?);
        figures.extend(stages(&open_gpu(&args)?, &preset, questions)?);
    }
    if part.is_none() {
        // The other part as it stands, until it is measured: a signal in between costs one part alone.
        let mut both = kept(&out).unwrap_or_default();
        both.extend(figures.clone());
        save(&out, &both)?;
    }
    if part != Some("stages") {
        figures.extend(answers(gpu_options(&args), &preset)?);
    }
    save(&out, &figures)?;
    say(&format!("wrote {}\n", out.display()));
    Ok(())
}

fn save(out: &Path, figures: &Figures) -> Result<(), Fault> {
    let text = serde_json::to_string_pretty(figures).map_err(Fault::failed)?;
    write(out, format!("{text}\n").as_bytes())
}

/// What the file has already.
fn kept(path: &Path) -> Result<Figures, Fault> {
    serde_json::from_slice(&read(path)?).map_err(|e| Fault::Failed(format!("{}: {e}", path.display())))
}

/// By it a test sees that figures are of other weights or of another preset.
fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(8).map(|b| format!("{b:02x}")).collect()
}

/// What figures are of: the preset, and the shipped weights of this name.
fn origin(preset: &Preset, weights: &str) -> Result<Value, Fault> {
    let text = serde_json::to_string(preset).map_err(Fault::failed)?;
    let file = block_on(assets::model_bytes(weights, |_, _| ()))?;
    Ok(json!({"preset": hash(text.as_bytes()), "weights": hash(file)}))
}

/// Three digits: a few hundred questions tell no more.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

fn shares(scores: &Scores) -> Value {
    let kinds: Figures =
        scores.kinds.iter().map(|(kind, share)| (kind.clone(), json!(rounded(share.value())))).collect();
    json!({"all": rounded(scores.all.value()), "several": rounded(scores.several.value()), "kinds": kinds})
}

/// What a step of stage 2 takes, linked and flattened; counted for a graphics processor: the same everywhere.
fn costs(args: &Args, preset: &Preset) -> Result<Value, Fault> {
    let gpu = block_on(Gpu::new(&GpuOptions { counting: true, ..gpu_options(args) }))?;
    let of = |wiring| {
        let cost = StepCost::of_stage(&gpu, preset, wiring, Stage::Adaptation)?;
        let bytes = (cost.parameter_bytes + cost.temporary_bytes) as f64;
        let (mflop, mib) = ((cost.flops / 1e6).round() as u64, rounded(bytes / f64::from(1 << 20)));
        Some(json!({"mflop": mflop, "mib": mib, "dispatches": cost.dispatches, "trained": cost.trained}))
    };
    Ok(json!({"linked": of(Wiring::Linked), "flattened": of(Wiring::Flattened)}))
}

/// The stages of the preset, of what the lessons compare it with, and what they leave out of it.
fn stages(gpu: &Gpu, preset: &Preset, questions: usize) -> Result<Figures, Fault> {
    let start = format!("{}-start", preset.data);
    let weights = block_on(assets::model(&start))?.weights;
    let trial = Trial { gpu, weights: &weights, questions };
    let (linked, depths) = trial.linked(preset)?;
    let beside = |beside: Beside| beside.preset(preset).map_err(Fault::Failed);
    let one_depth = trial.stages(&beside(Beside::Links("last".into()))?, &[Stage::Connector, Stage::Adaptation])?;
    let flattened = trial.stages(&beside(Beside::Flattened)?, &Stage::ALL)?;
    let mut steps = json!({"questions": questions});
    for (stage, recipe) in &preset.stages {
        steps[format!("stage {}", stage.number())] = json!(recipe.steps);
    }
    let (tokens, patches) = (preset.tokens, preset.model.vision_config.tokens());
    let figures = [
        ("adapter", json!(gpu.summary.name)),
        ("stages of", origin(preset, &start)?),
        ("steps", steps),
        ("sizes", json!({"tokens": tokens, "patches": patches, "flattened": tokens + patches})),
        ("depths", depths),
        ("stages", json!({"linked": linked, "one depth": one_depth, "flattened": flattened})),
    ];
    Ok(figures.map(|(name, value)| (name.to_owned(), value)).into_iter().collect())
}

/// Trainings from the same start, judged alike.
struct Trial<'a> {
    gpu: &'a Gpu,
    /// Start weights.
    weights: &'a Weights,
    /// Per score.
    questions: usize,
}

impl Trial<'_> {
    fn begin(&self, preset: &Preset) -> Result<Run, Fault> {
        Ok(Run::new(self.gpu, preset.clone(), made_source(preset)?, self.weights)?)
    }

    fn train(&self, run: &mut Run, stage: Stage) -> Result<(), Fault> {
        train_stage(run, stage, self.questions, &|_| Self::lost()).map(drop)
    }

    /// The stages belong together: a part of them is of no use.
    fn lost() -> Result<String, Fault> {
        Ok("stopped: of the stages nothing is kept, and the file is as it was. Begin again with the same command"
            .into())
    }

    /// Scores after each of these stages.
    fn stages(&self, preset: &Preset, stages: &[Stage]) -> Result<Figures, Fault> {
        say(&format!("\n{}, links at depths {:?}\n", preset.wiring.key(), preset.model.link_config.vision_layers));
        let mut run = self.begin(preset)?;
        for stage in stages {
            self.train(&mut run, *stage)?;
        }
        Ok(scores(&run))
    }

    /// Scores of one more stage, whatever came before it.
    fn then(&self, run: &mut Run, stage: Stage) -> Result<Value, Fault> {
        self.train(run, stage)?;
        let last = run.scores.iter().find(|(label, _)| *label == Label::after(stage));
        Ok(json!(last.map(|(_, scores)| shares(scores))))
    }

    /// What each depth knows: a row per depth, its attributes by name.
    fn depths(&self, run: &Run, weights: &Weights) -> Result<Value, Fault> {
        let found = measure(self.gpu, run.config(), weights, &run.source)?;
        let row = |found: &Depths, shares: &[f64]| -> Figures {
            let names = found.attributes.iter().map(|(name, _)| name.clone());
            names.zip(shares.iter().map(|share| json!(rounded(*share)))).collect()
        };
        let table = found.map(|found| found.shares.iter().map(|shares| row(&found, shares)).collect::<Vec<_>>());
        Ok(json!(table))
    }

    /// The linked model from stage to stage, and with more of stage 2, without stage 1, without stage 2; what its tower
    /// knows before and after.
    fn linked(&self, preset: &Preset) -> Result<(Figures, Value), Fault> {
        let mut run = self.begin(preset)?;
        let before = self.depths(&run, self.weights)?;
        let alone = block_on(run.evaluate(Picture::None, self.questions))?;
        self.train(&mut run, Stage::Connector)?;
        let connected = block_on(run.checkpoint())?;
        self.train(&mut run, Stage::Adaptation)?;
        let adapted = block_on(run.checkpoint())?;
        self.train(&mut run, Stage::Vision)?;
        let after = self.depths(&run, &block_on(run.checkpoint())?.weights)?;

        let mut rows = scores(&run);
        rows.insert("alone".into(), shares(&alone));
        let more = instead(self.gpu, Some(adapted), self.questions, &Self::lost)?;
        rows.insert("more of stage 2".into(), json!(more.as_ref().map(shares)));
        say("\nwithout stage 2\n");
        let mut run = Run::resume(self.gpu, connected, made_source(preset)?)?;
        rows.insert("stage 3 without stage 2".into(), self.then(&mut run, Stage::Vision)?);
        say("\nwithout stage 1\n");
        rows.insert("stage 2 without stage 1".into(), self.then(&mut self.begin(preset)?, Stage::Adaptation)?);
        Ok((rows, json!({"before": before, "after": after})))
    }
}

/// All scores of a run by their labels.
fn scores(run: &Run) -> Figures {
    run.scores.iter().map(|(label, scores)| (label.to_string(), shares(scores))).collect()
}

/// The lessons' questions to the trained model, as the window asks them.
fn answers(options: GpuOptions, preset: &Preset) -> Result<Figures, Fault> {
    let dataset = Dataset::by_name(&preset.data);
    let dataset = dataset.ok_or_else(|| Fault::usage("the lessons are about generated data, such as grounds"))?;
    let list: Vec<Asked> =
        serde_json::from_str(ASKED).map_err(|e| Fault::Failed(format!("assets/lessons/asked.json: {e}")))?;
    let of = origin(preset, &preset.data)?;
    let handle = worker::start(options, Arc::new(|| ()));
    handle.send(Command::Open(Open { preset: Box::new(preset.clone()), beside: None, trained: true }));
    until(&handle, |event| matches!(event, Event::Opened(_)).then_some(()))?;
    let mut all = Figures::new();
    for (id, asked) in (0..).zip(list) {
        let picture = |index| Arc::new(dataset.sample(Split::HeldOut, 0, index, 1).pixels);
        // The window swaps an example with the next one.
        let (pixels, other) = (picture(asked.example), Some(picture(asked.example + 1)));
        let question = Question { id, pixels, text: asked.question.clone(), other };
        let found = answered(&handle, &question, asked.cut)?;
        say(&format!("{}: {} -> {}\n", asked.id, asked.question, found["answer"]));
        all.insert(asked.id, found);
    }
    handle.send(Command::Quit);
    while block_on(handle.wait()).is_some() {}
    Ok([("answers of", of), ("asked", Value::Object(all))].map(|(name, v)| (name.to_owned(), v)).into_iter().collect())
}

/// What is found in the first event that has it.
fn until<T>(handle: &Handle, found: impl Fn(&Event) -> Option<T>) -> Result<T, Fault> {
    loop {
        stop_if_asked(|| {
            Ok("stopped: of the answers nothing is kept. Go on with --part answers, and the same other options".into())
        })?;
        match block_on(handle.wait()) {
            None => return Err(Fault::Failed("the session ended".into())),
            Some(Event::Fault(fault)) => return Err(Fault::Failed(format!("{} {}", fault.what, fault.remedy))),
            Some(event) => {
                if let Some(value) = found(&event) {
                    return Ok(value);
                }
            }
        }
    }
}

/// Answer, where it looked, changed pictures, and links cut if that is wanted.
fn answered(handle: &Handle, question: &Question, cut: bool) -> Result<Value, Fault> {
    handle.send(Command::Ask(question.clone()));
    let answer = until(handle, |e| if let Event::Answered(answer) = e { Some(answer.clone()) } else { None })?;
    let mut out = json!({
        "answer": said(&answer.words),
        "probability": rounded(answer.probability.into()),
        "looks": answer.maps.as_deref().map(looks),
    });
    // As many changes as there are: there is another picture to swap with.
    for _ in 0..3 {
        let probe = until(handle, |e| if let Event::Probed { probe, .. } = e { Some(probe.clone()) } else { None })?;
        out[probe.kind.name()] = changed(&probe.words, probe.original);
    }
    if !cut {
        return Ok(out);
    }
    handle.send(Command::CutLinks(question.clone()));
    let mut done = 0;
    loop {
        let found = |e: &Event| if let Event::Cut { cut, of, .. } = e { Some((cut.clone(), *of)) } else { None };
        let (cut, of) = until(handle, found)?;
        let name = match cut.links.as_slice() {
            [] => "nothing".to_owned(),
            [(layer, _)] => format!("layer {}", layer + 1),
            _ => "every link".to_owned(),
        };
        out["cut"][name] = changed(&cut.words, cut.original);
        done += 1;
        if done == of {
            return Ok(out);
        }
    }
}

fn said(words: &[Word]) -> String {
    let words: Vec<&str> = words.iter().map(|w| w.text.as_str()).collect();
    if words.is_empty() { "no word".to_owned() } else { words.join(" ") }
}

/// What is said after a change, and how likely the first answer is then.
fn changed(words: &[Word], original: f32) -> Value {
    json!({"answer": said(words), "original": rounded(original.into())})
}

/// Where the token that begins the answer looks, layer by layer: how much of its attention goes to each corner, and to
/// the picture as a whole.
fn looks(maps: &AttentionMaps) -> Value {
    let half = (maps.side / 2).max(1);
    let layer = |(i, layer): (usize, &usize)| {
        let mut corners = [0.0_f64; PLACES.len()];
        for (patch, share) in maps.map(i, None, maps.first_answer).into_iter().enumerate() {
            let (row, column) = (patch / maps.side / half, patch % maps.side / half);
            corners[row.min(1) * 2 + column.min(1)] += f64::from(share);
        }
        let mut told: Figures =
            PLACES.iter().zip(corners).map(|(place, share)| ((*place).to_owned(), json!(rounded(share)))).collect();
        told.insert("picture".into(), json!(rounded(corners.iter().sum())));
        (format!("layer {}", layer + 1), Value::Object(told))
    };
    Value::Object(maps.layers.iter().enumerate().map(layer).collect())
}
