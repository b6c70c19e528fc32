//! What the app knows: filled by the session's events, changed for the panels by [`super::actions`]. Pure data.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::chat::{ChatState, Doing};
use super::control::Control;
use super::lessons::Place;
use super::permalink::{self, Panel, Permalink, Tab};
use super::picture::Picture;
use crate::data::Dataset;
use crate::engine::{
    AdapterSummary, Answer, Beside, BlockId, ChatCommand, ChatEvent, Command, Cost, Cut, Event, Fault, FaultKind,
    Fetching, Figure, Lane, Open, Opened, Preset, RunLog, SelfTest, Stage, Steps, Word, assets,
};
use crate::platform::Blob;

/// An answer being written or done.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Asked {
    pub id: u64,
    pub question: String,
    /// The picture that it is about.
    pub picture: Option<Picture>,
    pub words: Vec<Word>,
    /// The whole, once it is there.
    pub answer: Option<Answer>,
    /// Was it asked and is not done yet?
    pub busy: bool,
    /// The same with links cut; the first with none.
    pub cuts: Vec<Cut>,
    /// How many of these there will be; none: nobody waits for more.
    pub cutting: Option<usize>,
}

/// A question whose attention is kept over the steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Pinned {
    /// Its words.
    pub question: String,
    /// The picture that it is about.
    pub picture: Picture,
}

/// How the example that is asked about was chosen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Examples {
    /// The one that a link asked for, until people choose another.
    pub wanted: Option<u64>,
    /// Links that asked for one so far.
    pub links: usize,
    /// The question that came with an example, to tell it from one that people typed.
    pub filled: String,
    /// Of which data the last one was.
    pub of: Option<Dataset>,
}

/// Something that takes time.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Busy {
    pub what: String,
    pub done: usize,
    /// Of so many; 0: unknown.
    pub of: usize,
}

/// Everything the panels draw.
#[derive(Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct AppState {
    pub adapter: Option<AdapterSummary>,
    /// Adapters that could be chosen.
    pub adapters: Vec<AdapterSummary>,
    pub self_test: SelfTest,
    /// What takes time now.
    pub busy: Option<Busy>,
    /// Weights that are being fetched.
    pub weights: Option<Fetching>,
    /// The preset as it is edited; the session's, once opened.
    pub preset: Option<Box<Preset>>,
    /// Words of the model.
    pub words: Vec<String>,
    /// The data of what is being opened, where those are others: pictures and questions are of them already.
    pub coming: Option<Dataset>,
    /// What trains beside the linked model.
    pub beside: Option<Beside>,
    /// Stage in progress or done.
    pub stage: Option<Stage>,
    /// Updates done in it.
    pub update: u64,
    /// Stages that made all their updates.
    pub done: Vec<Stage>,
    /// How far training goes, while it runs.
    pub steps: Option<Steps>,
    /// Cost of a step per lane.
    pub costs: Vec<Cost>,
    /// Mean wall seconds of a step per lane, smoothed.
    pub step_secs: BTreeMap<Lane, f64>,
    /// Share of the measurement of the depths that is done; none: nothing is measured.
    pub measuring: Option<f64>,
    /// Curves, scores, maps.
    pub log: RunLog,
    /// Gradient norms now, per lane, by block.
    pub norms: BTreeMap<Lane, Vec<(BlockId, f32)>>,
    /// The picture that is asked about.
    pub picture: Option<Picture>,
    /// Another picture, for the swap.
    pub other: Option<Picture>,
    /// Held-out example that a link asks for, until it is shown.
    pub wanted_example: Option<u64>,
    /// How the example was chosen.
    pub examples: Examples,
    /// The question as it is typed.
    pub question: String,
    pub asked: Asked,
    /// The model from files.
    pub chat: ChatState,
    pub pinned: Option<Pinned>,
    /// Failures to show, newest last. Dismissed ones are removed.
    pub faults: Vec<Fault>,
    /// What the status bar shows.
    pub figures: BTreeMap<Figure, f64>,
    /// Recent frame times, seconds, newest last.
    pub frames: Vec<f32>,
    /// What the link says: hidden controls, open panels, lesson.
    pub link: Permalink,
    /// Tab of the curves.
    pub tab: Tab,
    /// Place in the lessons.
    pub lesson: Place,
    /// Files to be saved by the shell.
    pub files: Vec<(String, Arc<Vec<u8>>)>,
    /// The file that the session wrote last.
    pub saved: Option<String>,
    /// One line for screen readers and the page's live region; the shell announces changes.
    pub announcement: String,
}

impl AppState {
    /// Is this control to be shown? Teachers hide controls by link.
    #[must_use]
    pub fn shows(&self, control: Control) -> bool {
        !self.link.hide.contains(&control)
    }

    /// The data of what is open, or is being opened.
    #[must_use]
    pub fn dataset(&self) -> Option<Dataset> {
        self.coming.or_else(|| Dataset::by_name(&self.preset.as_ref()?.data))
    }

    /// Prepares for what is being opened, which may take a while: a question that is asked meanwhile is answered by that
    /// model, and must not be about a picture of the one before.
    pub fn expect(&mut self, open: &Open) {
        let data = Dataset::by_name(&open.preset.data);
        if self.preset.is_some() && data != self.dataset() {
            self.coming = data;
            (self.picture, self.other) = (None, None);
        }
    }

    /// Takes in an event. A question to the model from files that was not answered comes back, to be asked again.
    pub fn apply(&mut self, event: Event) -> Option<String> {
        self.log.apply(&event);
        match event {
            Event::Adapter { used, all } => {
                self.adapter = Some(*used);
                self.adapters = all;
                self.faults.retain(|f| !matches!(f.kind, FaultKind::NoAdapter));
            }
            Event::Busy { what, done, of } => {
                self.busy = if what.is_empty() { None } else { Some(Busy { what, done, of }) };
            }
            Event::Fetching(now) => {
                if let (None, Some(first)) = (&self.weights, &now) {
                    let megabytes = first.of as f64 * 1e-6;
                    self.announcement = format!("Fetching the weights {}, {megabytes:.1} MB.", first.name);
                }
                self.weights = now;
            }
            Event::SelfTest(result) => self.self_test = result,
            Event::Opened(opened) => self.opened(*opened),
            Event::Entered { stage, update, costs } => {
                (self.stage, self.update, self.costs) = (Some(stage), update, costs);
                self.done.retain(|s| *s < stage);
                self.step_secs.clear();
            }
            Event::Recipe(stage, recipe) => self.preset.iter_mut().for_each(|p| p.set_stage(stage, (*recipe).clone())),
            Event::Running(steps) => self.steps = steps,
            Event::Step(e) => {
                if e.lane == Lane::Hive {
                    (self.stage, self.update) = (Some(e.stage), e.update);
                }
                let secs = self.step_secs.entry(e.lane).or_insert(e.secs);
                // The first step compiles its kernels, and says nothing of those that follow.
                *secs = if e.update <= 2 { e.secs } else { *secs + 0.1 * (e.secs - *secs) };
            }
            Event::Norms { lane, norms, .. } => {
                self.norms.insert(lane, norms);
            }
            Event::StageDone(stage) => self.stage_done(stage),
            Event::Token { id, word } if id == self.asked.id => self.asked.words.push(word),
            Event::Answered(answer) if answer.id == self.asked.id => self.answered(*answer),
            Event::Probed { id, probe } => {
                if let Some(answer) = self.asked.answer.as_mut().filter(|a| a.id == id) {
                    answer.probes.push(probe);
                }
            }
            Event::Cut { id, cut, of } if id == self.asked.id => {
                self.asked.cuts.push(cut);
                self.asked.cutting = Some(of).filter(|of| self.asked.cuts.len() < *of && self.asked.cutting.is_some());
            }
            Event::Measuring(share) => self.measuring = share,
            Event::Depths { .. } => self.announcement = "What each depth knows is measured.".into(),
            Event::Figure(figure, value) => drop(self.figures.insert(figure, value)),
            Event::File { name, bytes } => {
                self.saved = Some(name.clone());
                self.files.push((name, bytes));
            }
            Event::Chat(event) => return self.apply_chat(event),
            Event::Fault(fault) => {
                // A lost device is replaced and goes on; after the others the session has stopped, or never began.
                if !matches!(fault.kind, FaultKind::DeviceLost | FaultKind::SelfTest) {
                    self.steps = None;
                }
                self.measuring = None;
                // What was expected may never come.
                if self.coming.take().is_some() {
                    (self.picture, self.other) = (None, None);
                }
                self.fault(fault);
            }
            Event::Recovered { update, .. } => {
                self.update = update;
                self.announcement = format!("Training is back at step {update}.");
            }
            Event::Scores { lane: Lane::Hive, stage: Some(_), own, .. } => {
                self.announcement = format!("Held-out accuracy {:.0} percent.", own.all.value() * 100.0);
            }
            Event::Token { .. }
            | Event::Answered(_)
            | Event::Scores { .. }
            | Event::Snapshot { .. }
            | Event::Cut { .. } => {}
        }
        None
    }

    fn opened(&mut self, opened: Opened) {
        let Opened { preset, words, beside, stage, update, log: _ } = opened;
        self.done = Stage::ALL.into_iter().filter(|s| stage.is_some_and(|now| *s < now)).collect();
        if let Some(s) = stage.filter(|s| preset.stage(*s).is_none_or(|r| update >= r.steps)) {
            self.done.push(s);
        }
        let same_data = self.preset.as_ref().is_some_and(|p| p.data == preset.data);
        let expected = self.coming.is_some();
        self.coming = self.coming.filter(|data| Dataset::by_name(&preset.data) != Some(*data));
        self.preset = Some(preset);
        (self.words, self.beside, self.stage, self.update) = (words, beside, stage, update);
        self.steps = None;
        self.norms.clear();
        self.costs.clear();
        // A question that was asked while the model was being opened is answered by it.
        if !self.asked.busy {
            self.asked = Asked { id: self.asked.id, ..Asked::default() };
        }
        self.pinned = None;
        if !same_data && !expected {
            (self.picture, self.other) = (None, None);
        }
        self.faults.retain(|f| f.kind != FaultKind::Download);
        self.announcement = "Model loaded.".into();
    }

    fn stage_done(&mut self, stage: Stage) {
        if !self.done.contains(&stage) {
            self.done.push(stage);
        }
        self.announcement = format!("Stage {} is done.", stage.number());
    }

    fn answered(&mut self, answer: Answer) {
        self.asked.words.clone_from(&answer.words);
        let text = answer.words.iter().map(|w| w.text.as_str()).collect::<Vec<_>>().join(" ");
        self.announcement = format!("Answer: {text}.");
        self.asked.answer = Some(answer);
        self.asked.busy = false;
    }

    fn apply_chat(&mut self, event: ChatEvent) -> Option<String> {
        let news = self.chat.apply(event);
        if let Some(line) = news.announcement {
            self.announcement = line;
        }
        if let Some(fault) = news.fault {
            self.show_fault(fault);
        }
        news.unanswered
    }

    /// Does training run?
    #[must_use]
    pub fn running(&self) -> bool {
        self.steps.is_some()
    }

    /// And through all stages?
    #[must_use]
    pub fn runs_all(&self) -> bool {
        self.steps == Some(Steps::All)
    }

    /// Adds a failure card, and ends the wait for an answer of the model in training.
    pub fn fault(&mut self, fault: Fault) {
        (self.asked.busy, self.asked.cutting) = (false, None);
        self.show_fault(fault);
    }

    /// Adds a failure card; one that says the same, or less of the same self-test, is replaced.
    pub fn show_fault(&mut self, fault: Fault) {
        self.announcement = format!("{} {}", fault.what, fault.remedy);
        self.faults.retain(|f| f.kind != fault.kind || f.what != fault.what && f.kind != FaultKind::SelfTest);
        self.faults.push(fault);
    }

    /// Has the session look at a model's files: the command.
    #[must_use]
    pub fn open_model(&mut self, name: String, blobs: Vec<Blob>) -> Command {
        self.chat.shown = true;
        self.link.set_open(Panel::Ask, true);
        self.chat.doing = Doing::Opening;
        self.announcement = format!("Opening {name}.");
        Command::Chat(ChatCommand::Open { name, blobs })
    }

    /// What opens a preset by name, with the link's seed.
    #[must_use]
    pub fn opening(&self, name: &str, beside: Option<Beside>, trained: bool) -> Option<Open> {
        let mut preset = assets::preset(name).ok()?;
        if let Some(seed) = self.link.seed {
            preset.seed = seed;
        }
        Some(Open { preset: Box::new(preset), beside, trained })
    }

    /// The same as a command.
    #[must_use]
    pub fn open(&self, name: &str, beside: Option<Beside>, trained: bool) -> Option<Command> {
        self.opening(name, beside, trained).map(Command::Open)
    }

    /// Depths of the links as a list, where they are not those of the shipped preset.
    #[must_use]
    pub fn links(&self) -> Option<String> {
        let now = self.preset.as_ref()?;
        let own = assets::preset(&now.name).ok()?.model.link_config.vision_layers;
        let now = &now.model.link_config.vision_layers;
        (*now != own).then(|| permalink::depths(now))
    }
}
