//! The session: the one loop that trains, answers and saves. Commands are taken between optimiser steps and between words
//! of an answer; everything it finds out is told as events. It never panics on purpose and outlives its GPU device.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_channel::Receiver;

mod chat;
mod chat_model;
mod device;
mod files;
mod questions;
mod recovery;
mod weights;

use super::assets::AssetError;
use super::beside::Beside;
use super::command::{Command, Open};
use super::event::{Event, Opened};
use super::log::RunLog;
use super::outbox::Events;
use super::track::{Track, Trouble};
use super::words::{Fault, FaultKind, Figure, Lane, Question, SelfTest, Steps, sentence};
use crate::gpu::{Gpu, GpuError, GpuOptions};
use crate::model::weights::Precision;
use crate::ops::case::Case;
use crate::ops::verify;
use crate::platform;
use crate::train::checkpoint::Checkpoint;
use crate::train::recipe::Preset;
use crate::train::stage::Stage;
use chat_model::ChatSession;

/// GPU time of one submission while a window shares the machine, seconds.
const PIECE_SECS: f64 = 0.008;
/// Seconds between two points that a lost device goes back to.
const SAFE_SECS: f64 = 15.0;
/// Seconds between two readings of the gradient norms.
const NORM_SECS: f64 = 0.5;
/// Held-out questions per score at the end of a stage.
const QUESTIONS: usize = 100;
/// The same before its first step and on the way, when people are waiting for the next step.
const FEW_QUESTIONS: usize = 50;
/// Scores per stage, its ends not counted.
const SCORES_PER_STAGE: u64 = 6;

/// The self-test in progress.
struct Testing {
    cases: VecDeque<(&'static str, Case)>,
    result: SelfTest,
}

/// See the module.
pub(in crate::engine) struct Session {
    options: GpuOptions,
    inbox: Receiver<Command>,
    events: Events,
    /// Taken from the inbox while an answer was being written.
    pending: VecDeque<Command>,
    gpu: Option<Gpu>,
    tracks: Vec<Track>,
    /// Safe points of tracks that no device has taken in yet.
    homeless: Vec<(Lane, Checkpoint)>,
    /// What is reset to.
    open: Option<Open>,
    /// What could not be opened because its weights did not come.
    missing: Option<Open>,
    /// What is still to be trained; none: not running.
    target: Option<Steps>,
    pinned: Option<Question>,
    /// The model from files.
    chat: ChatSession,
    /// Checkpoints at the ends of stages, for the run file.
    stage_ends: BTreeMap<String, Vec<u8>>,
    testing: Option<Testing>,
    /// Was something told to take time, and not yet told to be over?
    busy: Arc<AtomicBool>,
    /// Was the baseline without a picture told?
    knows_alone: bool,
    last_safe: f64,
    last_norms: f64,
    last_memory: f64,
}

impl Session {
    pub(in crate::engine) fn new(options: GpuOptions, inbox: Receiver<Command>, events: Events) -> Self {
        Self {
            options: GpuOptions { piece_secs: Some(options.piece_secs.unwrap_or(PIECE_SECS)), ..options },
            inbox,
            events,
            pending: VecDeque::new(),
            gpu: None,
            tracks: Vec::new(),
            homeless: Vec::new(),
            open: None,
            missing: None,
            target: None,
            pinned: None,
            chat: ChatSession::default(),
            stage_ends: BTreeMap::new(),
            testing: None,
            busy: Arc::default(),
            knows_alone: false,
            last_safe: 0.0,
            last_norms: 0.0,
            last_memory: 0.0,
        }
    }

    /// Runs until it is told to quit or nobody is left to tell.
    pub(in crate::engine) async fn run(mut self) {
        if let Err(e) = self.open_gpu().await {
            self.tell_fault(&Trouble::Gpu(e));
        }
        loop {
            let command = match self.pending.pop_front() {
                Some(c) => Some(c),
                None if self.is_idle() => match self.inbox.recv().await {
                    Ok(c) => Some(c),
                    Err(_closed) => return,
                },
                None if self.inbox.is_closed() => return,
                None => self.inbox.try_recv().ok(),
            };
            let asked = command.as_ref().is_some_and(recovery::only_looks);
            let result = match command {
                Some(Command::Quit) => return,
                // Boxed: commands do much more than a step, and their future would make the loop's large.
                Some(command) => Box::pin(self.obey(command)).await,
                None => self.work().await,
            };
            if let Err(trouble) = result {
                Box::pin(self.handle(trouble, asked)).await;
            }
            self.rest();
            self.tell_memory();
            platform::yield_now().await;
        }
    }

    fn is_idle(&self) -> bool {
        self.target.is_none() && self.testing.is_none()
    }

    fn tell_memory(&mut self) {
        let now = platform::now_secs();
        if now - self.last_memory > 2.0 {
            self.last_memory = now;
            let bytes = self.gpu.as_ref().map_or(0, Gpu::allocated_bytes) + self.chat.bytes();
            self.events.tell(Event::Figure(Figure::Memory, bytes as f64));
        }
    }

    fn tell_fault(&self, trouble: &Trouble) {
        let fault = match trouble {
            Trouble::Gpu(e) => Fault::from(e),
            Trouble::Asset(AssetError::Shipped(e)) => {
                Fault::new(FaultKind::Download, sentence(&e.to_string()), e.remedy())
            }
            other => {
                let (kind, remedy) = match other {
                    Trouble::NotFinite(e) => {
                        return self.events.tell(Event::Fault(Fault::not_finite(&e.what(), e.remedy())));
                    }
                    Trouble::Checkpoint(_) | Trouble::Weights(_) => (FaultKind::File, "Choose another file."),
                    _ => (FaultKind::Other, "Try again; if this repeats, please report it with the details."),
                };
                Fault::new(kind, other.to_string(), remedy)
            }
        };
        self.events.tell(Event::Fault(fault));
    }

    /// Something takes time from now on.
    fn busy(&self, what: &str) {
        self.busy.store(true, Ordering::Relaxed);
        self.events.tell(Event::Busy { what: what.into(), done: 0, of: 0 });
    }

    /// What took time is over.
    fn rest(&self) {
        if self.busy.swap(false, Ordering::Relaxed) {
            self.events.tell(Event::Busy { what: String::new(), done: 0, of: 0 });
        }
    }

    fn gpu(&self) -> Result<Gpu, Trouble> {
        self.gpu.clone().ok_or(Trouble::Gpu(GpuError::NoAdapter))
    }

    async fn obey(&mut self, command: Command) -> Result<(), Trouble> {
        match command {
            Command::Open(open) => self.open_preset(open).await?,
            Command::OpenAgain => {
                if let Some(open) = self.missing.take() {
                    self.open_preset(open).await?;
                }
            }
            Command::Enter(stage) => {
                self.stop();
                self.enter(stage).await?;
            }
            Command::Train(steps) => self.train(steps).await?,
            Command::Pause => self.stop(),
            Command::Reset => {
                if let Some(open) = self.open.clone() {
                    self.open_preset(open).await?;
                }
            }
            Command::Recipe(stage, recipe) => self.change_recipe(stage, &recipe).await?,
            Command::Ask(question) => self.ask(&question).await?,
            Command::MeasureDepths => Box::pin(self.measure_depths()).await?,
            Command::CutLinks(question) => self.cut_links(&question).await?,
            // An answer in progress has seen it already.
            Command::Cancel | Command::Quit => {}
            Command::Pin(question) => {
                self.pinned = question;
                self.snapshot().await?;
            }
            Command::Evaluate => self.evaluate(QUESTIONS).await?,
            Command::Save(log) => self.save(&log).await?,
            Command::Export => self.export().await?,
            Command::Load { name, bytes } => self.load(&name, &bytes).await?,
            Command::Chat(command) => Box::pin(self.chat(command)).await,
            Command::Verify => self.begin_test(verify::all_cases()),
            Command::Adapter(options) => Box::pin(self.change_adapter(options)).await?,
            Command::Fail(failure) => self.gpu()?.fail(failure),
            Command::LoseDevice => {
                self.chat.destroy();
                if let Some(gpu) = &self.gpu {
                    gpu.destroy();
                    // Nothing may be in progress that would notice.
                    gpu.finished().await?;
                    gpu.check()?;
                }
            }
        }
        Ok(())
    }

    /// What is open stays so until the weights are there.
    async fn open_preset(&mut self, open: Open) -> Result<(), Trouble> {
        self.stop();
        let gpu = self.device().await?;
        let Some(mut weights) = self.weights_of(&open).await? else { return Ok(()) };
        self.tracks.clear();
        self.homeless.clear();
        self.stage_ends.clear();
        self.pinned = None;
        self.knows_alone = open.trained;
        let mut refused = None;
        if open.trained {
            // It was trained longer; what follows from here (a reset, another seed) is the preset's.
            weights.meta.preset = (*open.preset).clone();
            self.tracks.push(Track::resume(&gpu, Lane::Hive, weights)?);
        } else {
            let hive = Preset { wiring: Lane::Hive.wiring(), ..(*open.preset).clone() };
            let beside = open.beside.as_ref().map(|beside| beside.preset(&hive));
            self.tracks.push(Track::open(&gpu, Lane::Hive, hive, &weights.weights).await?);
            match beside {
                Some(Ok(preset)) => self.tracks.push(Track::open(&gpu, Lane::Control, preset, &weights.weights).await?),
                Some(Err(reason)) => refused = Some(reason),
                None => {}
            }
        }
        let beside = open.beside.filter(|_| refused.is_none());
        self.open = Some(Open { trained: false, beside, ..open });
        self.tell_opened(None);
        match refused {
            Some(reason) => Err(Trouble::Other(format!("nothing trains beside the model: {reason}"))),
            None => Ok(()),
        }
    }

    fn tell_opened(&self, log: Option<Box<RunLog>>) {
        let Some(track) = self.tracks.first() else { return };
        let opened = Opened {
            preset: Box::new(track.run.preset.clone()),
            words: track.words().words().to_vec(),
            beside: self.beside().filter(|_| self.tracks.len() > 1).cloned(),
            stage: track.run.stage(),
            update: track.updates(),
            log,
        };
        self.events.tell(Event::Opened(Box::new(opened)));
    }

    /// What trains beside the linked model.
    fn beside(&self) -> Option<&Beside> {
        self.open.as_ref()?.beside.as_ref()
    }

    async fn enter(&mut self, stage: Stage) -> Result<(), Trouble> {
        self.busy(&format!("preparing stage {}", stage.number()));
        let more = self.beside() == Some(&Beside::MoreOfStageTwo);
        let second = self.tracks.first().and_then(|t| t.run.preset.stage(Stage::Adaptation).cloned());
        for track in &mut self.tracks {
            if more && track.lane == Lane::Control {
                if stage == Stage::Vision {
                    track.go_on().await?;
                    continue;
                }
                // It may have followed the recipe of stage 3 since.
                second.iter().for_each(|recipe| track.run.preset.set_stage(Stage::Adaptation, recipe.clone()));
            }
            track.enter(stage).await?;
        }
        self.last_safe = platform::now_secs();
        self.tell_entered();
        Ok(())
    }

    fn tell_entered(&self) {
        let Some(track) = self.tracks.first() else { return };
        if let Some(stage) = track.run.in_progress() {
            let costs = self.tracks.iter().filter_map(Track::cost).collect();
            self.events.tell(Event::Entered { stage, update: track.updates(), costs });
        }
    }

    async fn train(&mut self, steps: Steps) -> Result<(), Trouble> {
        let Some(stage) = self.next_stage() else { return Ok(()) };
        let runs = self.target.replace(steps).is_some();
        self.events.tell(Event::Running(Some(steps)));
        if runs { Ok(()) } else { self.begin(stage).await }
    }

    /// The stage that the next step belongs to; none where nothing is open or all is done.
    fn next_stage(&self) -> Option<Stage> {
        let track = self.tracks.first()?;
        match track.run.stage() {
            None => Some(Stage::Connector),
            now if track.has_work() => now,
            Some(done) => Stage::of(done.number() + 1),
        }
    }

    /// What comes before the next step of a stage.
    async fn begin(&mut self, stage: Stage) -> Result<(), Trouble> {
        if self.tracks.first().is_some_and(|t| !t.has_work()) {
            self.enter(stage).await?;
        }
        if self.tracks.first().is_some_and(|t| t.updates() == 0) {
            self.busy("asking held-out questions before the first step");
            self.tell_alone().await?;
            self.evaluate(FEW_QUESTIONS).await?;
        }
        Ok(())
    }

    fn stop(&mut self) {
        if self.target.take().is_some() {
            self.events.tell(Event::Running(None));
        }
    }

    /// One step of every track, and what is due after it; or a case of the self-test.
    async fn work(&mut self) -> Result<(), Trouble> {
        if self.testing.is_some() {
            self.test_one().await?;
        }
        let Some(target) = self.target else { return Ok(()) };
        let (Some(stage), true) = (self.next_stage(), target != Steps::Count(0)) else {
            self.stop();
            return Ok(());
        };
        if self.tracks.first().is_some_and(|t| !t.has_work()) {
            return self.begin(stage).await;
        }
        for track in &mut self.tracks {
            if let Some(step) = track.step().await? {
                self.events.tell(Event::Step(step));
            }
        }
        if let Steps::Count(left) = target {
            self.target = Some(Steps::Count(left - 1));
        }
        self.after_step().await
    }

    async fn after_step(&mut self) -> Result<(), Trouble> {
        let Some(track) = self.tracks.first() else { return Ok(()) };
        let (updates, now) = (track.updates(), platform::now_secs());
        let Some(stage) = track.run.in_progress() else { return Ok(()) };
        let of = track.run.preset.stage(stage).map_or(1, |r| r.steps.max(1));
        let done = !track.has_work();
        if now - self.last_norms > NORM_SECS || done {
            self.last_norms = now;
            for track in &self.tracks {
                let (lane, update, norms) = (track.lane, track.updates(), track.norms().await?);
                self.events.tell(Event::Norms { lane, stage, update, norms });
            }
        }
        if done || updates.is_multiple_of((of / 100).max(1)) {
            self.snapshot().await?;
        }
        // A stage of a few steps is scored at its ends only.
        if done || of >= 30 && updates.is_multiple_of(of / SCORES_PER_STAGE) {
            self.evaluate(if done { QUESTIONS } else { FEW_QUESTIONS }).await?;
        }
        if done {
            self.finish_stage(stage).await?;
        } else if now - self.last_safe > SAFE_SECS {
            self.last_safe = now;
            for track in &mut self.tracks {
                track.keep_safe().await?;
            }
        }
        Ok(())
    }

    async fn finish_stage(&mut self, stage: Stage) -> Result<(), Trouble> {
        for track in &mut self.tracks {
            track.keep_safe().await?;
            if track.lane == Lane::Hive {
                let bytes = track.run.checkpoint().await?.to_bytes(&track.run.specs(), Precision::F16)?;
                self.stage_ends.insert(format!("stage {}", stage.number()), bytes);
            }
        }
        if self.target != Some(Steps::All) || stage == Stage::Vision {
            self.stop();
        }
        self.events.tell(Event::StageDone(stage));
        Ok(())
    }

    /// Once per run, before its first step: the baseline without a picture.
    async fn tell_alone(&mut self) -> Result<(), Trouble> {
        if !std::mem::replace(&mut self.knows_alone, true) {
            // Without pictures both models are the same language model.
            if let Some(track) = self.tracks.first() {
                let alone = Box::new(track.alone(FEW_QUESTIONS).await?);
                let (own, swapped) = (alone.clone(), alone);
                self.events.tell(Event::Scores { lane: track.lane, stage: None, update: 0, own, swapped });
            }
        }
        Ok(())
    }

    async fn evaluate(&mut self, questions: usize) -> Result<(), Trouble> {
        for track in &mut self.tracks {
            let (own, swapped) = track.scores(questions).await?;
            self.events.tell(Event::Scores {
                lane: track.lane,
                stage: track.stage(),
                update: track.updates(),
                own: Box::new(own),
                swapped: Box::new(swapped),
            });
        }
        Ok(())
    }
}
