//! A state as a session would have made it, and a harness around one panel.

use std::sync::Arc;

use eframe::egui::{Ui, Vec2};
use egui_kittest::Harness;
use hive::app::AppState;
use hive::app::actions::{Action, Request, perform};
use hive::app::panels::{Forms, picture_of};
use hive::engine::{
    AttentionMaps, BlockId, Command, Cost, Event, Lane, Opened, Scores, Share, Stage, StepCost, StepEvent, Steps,
    assets,
};

/// A panel's state and form beside what it asked of the session and of the shell.
#[derive(Default)]
pub(crate) struct Bench {
    pub(crate) state: AppState,
    pub(crate) forms: Forms,
    pub(crate) out: Vec<Command>,
    pub(crate) asked: Vec<Request>,
}

impl Bench {
    pub(crate) fn take_picture(&mut self, name: &str, bytes: &[u8]) {
        match picture_of(&self.state, name, bytes) {
            Ok(shown) => drop(perform(shown, &mut self.state, &mut self.out)),
            Err(fault) => self.state.show_fault(fault),
        }
    }

    pub(crate) fn tell(&mut self, event: Event) {
        let unanswered = self.state.apply(event);
        unanswered.into_iter().for_each(|question| self.forms.chat.give_back(question));
    }
}

/// The preset `pictures`, opened.
pub(crate) fn opened() -> Bench {
    let mut bench = Bench::default();
    bench.tell(opened_event());
    bench
}

pub(crate) fn opened_event() -> Event {
    let preset = assets::preset("pictures").unwrap();
    Event::Opened(Box::new(Opened {
        preset: Box::new(preset),
        words: vec!["what".into(), "is".into(), "it".into(), "?".into(), "dog".into()],
        beside: None,
        stage: None,
        update: 0,
        log: None,
    }))
}

/// The preset `grounds`, opened with four links to depths 1 to 4 of five, in the published order: not those that ship.
pub(crate) fn grounds() -> Bench {
    let mut bench = Bench::default();
    let mut preset = Box::new(assets::preset("grounds").unwrap());
    preset.set_links("paper").unwrap();
    let opened = Opened { preset, words: Vec::new(), beside: None, stage: None, update: 0, log: None };
    bench.tell(Event::Opened(Box::new(opened)));
    bench
}

/// The preset `pictures` in stage 1, after `updates` steps of the linked model, with norms and scores.
pub(crate) fn training(updates: u64) -> Bench {
    let mut bench = opened();
    let cost = Cost {
        lane: Lane::Hive,
        stage: Stage::Connector,
        step: StepCost {
            dispatches: 321,
            parameter_bytes: 3 << 20,
            temporary_bytes: 5 << 20,
            flops: 1.5e9,
            trained: 30_000,
            parameters: 500_000,
            parts: Vec::new(),
        },
    };
    bench.tell(Event::Entered { stage: Stage::Connector, update: 0, costs: vec![cost] });
    bench.tell(Event::Running(Some(Steps::Stage)));
    for update in 1..=updates {
        bench.tell(step(Lane::Hive, Stage::Connector, update));
    }
    let norms = vec![(BlockId::Link(0), 0.5), (BlockId::Link(1), 0.25), (BlockId::Link(2), 0.125)];
    bench.tell(Event::Norms { lane: Lane::Hive, stage: Stage::Connector, update: updates, norms });
    bench.tell(scores(Lane::Hive, Some(Stage::Connector), updates, 34, 25));
    bench
}

pub(crate) fn step(lane: Lane, stage: Stage, update: u64) -> Event {
    Event::Step(StepEvent {
        lane,
        stage,
        update,
        of: 100,
        loss: 3.0 / update as f32 + 0.5,
        grad_norm: 1.0,
        learning_rate: 1e-3,
        secs: 0.1,
        samples: 8,
    })
}

/// `own` and `swapped` of 100 right, half of the questions of each of two kinds.
pub(crate) fn scores(lane: Lane, stage: Option<Stage>, update: u64, own: usize, swapped: usize) -> Event {
    let made = |hits: usize| Scores {
        all: Share { hits, of: 100 },
        several: Share { hits: hits / 2, of: 50 },
        kinds: [("what", hits / 2), ("count", hits - hits / 2)]
            .map(|(k, hits)| (k.to_owned(), Share { hits, of: 50 }))
            .into(),
        loss: 1.0,
    };
    Event::Scores { lane, stage, update, own: Box::new(made(own)), swapped: Box::new(made(swapped)) }
}

/// Maps of three tokens in two layers with two heads over 2 x 2 patches; every map is another.
pub(crate) fn maps() -> AttentionMaps {
    AttentionMaps {
        tokens: vec!["what".into(), "?".into(), "dog".into()],
        first_answer: 1,
        layers: vec![0, 2],
        depths: vec![1, 3],
        heads: 2,
        side: 2,
        values: (0..2 * 2 * 3 * 4).map(|i| (i as f32 * 0.37).fract() * 0.25).collect(),
    }
}

/// A grey picture of the preset's size.
pub(crate) fn pixels() -> Arc<Vec<f32>> {
    Arc::new(vec![0.1; 3 * 48 * 48])
}

/// What draws a panel.
pub(crate) type Draw = fn(&mut Ui, &AppState, &mut Forms, &mut Vec<Action>);

/// A harness of 1280 x 800 that draws one panel.
pub(crate) fn harness(bench: Bench, panel: Draw) -> Harness<'static, Bench> {
    harness_after(bench, |_| (), panel)
}

/// The same; `before` is done to the state before each frame.
pub(crate) fn harness_after(bench: Bench, before: fn(&mut AppState), panel: Draw) -> Harness<'static, Bench> {
    let frame = move |ui: &mut Ui, b: &mut Bench| {
        before(&mut b.state);
        let mut actions = Vec::new();
        panel(ui, &b.state, &mut b.forms, &mut actions);
        if !actions.is_empty() {
            ui.ctx().request_repaint();
        }
        for action in actions {
            b.asked.extend(perform(action, &mut b.state, &mut b.out));
        }
    };
    Harness::builder().with_size(Vec2::new(1280.0, 800.0)).build_ui_state(frame, bench)
}
