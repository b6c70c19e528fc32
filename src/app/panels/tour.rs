//! The tour of the first run: a card that goes from column to column. It blocks nothing: people may try what it shows.

use std::collections::BTreeMap;

use eframe::egui::{
    Align2, Area, Button, Color32, Context, Frame, Id, Key, LayerId, Modifiers, Order, Pos2, Rect, Stroke, StrokeKind,
    Ui, vec2,
};

use crate::app::actions::Action;
use crate::app::lessons::LESSONS;
use crate::app::permalink::Permalink;
use crate::app::{AppState, Control};
use crate::engine::{FaultKind, Stage};

/// Width of the card, points.
const WIDTH: f32 = 320.0;
/// Between card and frame, points.
const GAP: f32 = 12.0;

/// One stop of the tour.
#[allow(missing_docs, reason = "the names say it")]
pub struct Step {
    /// The column it points to, a key of [`Form::anchors`].
    pub anchor: &'static str,
    pub title: &'static str,
    pub text: &'static str,
}

/// The stops.
pub const STEPS: [Step; 6] = [
    Step {
        anchor: "data",
        title: "Pictures and questions",
        text: "Here are pictures that training never shows, each with a question and the right answer. \
               Browse them, draw one, or open a picture of your own.",
    },
    Step {
        anchor: "model",
        title: "Two models and their links",
        text: "A vision tower looks, a small language model answers. Links let some layers of the language \
               model attend to the tower. The diagram shows which parts train and which are frozen.",
    },
    Step {
        anchor: "stages",
        title: "Three stages",
        text: "Stage 1 trains only the links, stage 2 also the language model, stage 3 also the tower. \
               Start with stage 1; it takes seconds to a minute.",
    },
    Step {
        anchor: "curves",
        title: "What training changes",
        text: "The loss falls while it trains. Watch the held-out accuracy beside it: it is also measured \
               with swapped pictures, and only the gap between the two shows that the model looks.",
    },
    Step {
        anchor: "ask",
        title: "Ask",
        text: "Ask about the picture, before and after a stage. The attention map shows which patches a \
               word looked at, and the changed pictures show what the answer depends on.",
    },
    Step {
        anchor: "lessons",
        title: "Lessons",
        text: "Five lessons lead through experiments that take a class hour or less, and a page for teachers plans \
               one. Their links set the app up for you.",
    },
];

/// Where the tour stands.
#[derive(Default)]
pub struct Form {
    /// Where the columns are; the shell fills it every frame. A step without a rectangle is shown in the middle.
    pub anchors: BTreeMap<&'static str, Rect>,
    /// Was the tour finished or skipped, now or in an earlier session?
    pub seen: bool,
    step: usize,
    /// The step that has got the focus and was announced.
    told: Option<usize>,
}

impl Form {
    /// Shows the tour from its beginning.
    pub fn restart(&mut self) {
        (self.seen, self.step, self.told) = (false, 0, None);
    }

    /// The step in progress, from 0.
    #[must_use]
    pub fn step(&self) -> usize {
        self.step
    }

    fn next(&mut self) {
        self.step += 1;
        self.seen = self.step == STEPS.len();
        self.step %= STEPS.len();
    }

    fn back(&mut self) {
        self.step = self.step.saturating_sub(1);
    }
}

/// Is the tour to be shown? Not where it was seen or a link hides it, and not over the news that nothing can run.
#[must_use]
pub fn is_shown(state: &AppState, form: &Form) -> bool {
    let fatal = |k: FaultKind| matches!(k, FaultKind::NoWebGpu | FaultKind::NoAdapter | FaultKind::InsecureOrigin);
    !form.seen && state.shows(Control::Tour) && !state.faults.iter().any(|f| fatal(f.kind))
}

/// Draws the tour over everything else.
pub fn tour_ui(ui: &mut Ui, state: &AppState, form: &mut Form, out: &mut Vec<Action>) {
    if !is_shown(state, form) {
        return;
    }
    let ctx = ui.ctx().clone();
    keys(&ctx, form);
    let Some(step) = STEPS.get(form.step).filter(|_| !form.seen) else { return };
    let target = form.anchors.get(step.anchor).copied();
    if let Some(rect) = target {
        let layer = LayerId::new(Order::Foreground, Id::unique("tour frame"));
        let colour = ui.visuals().selection.bg_fill;
        frame(&ctx, layer, rect, colour);
    }
    let (pivot, at) = place(ctx.content_rect(), target);
    Area::new(Id::unique("tour"))
        .order(Order::Foreground)
        .accessible_name("Tour")
        .pivot(pivot)
        .fixed_pos(at)
        .constrain(true)
        .show(&ctx, |ui| Frame::popup(ui.style()).show(ui, |ui| card_ui(ui, state, form, step, out)));
}

/// Escape skips; Enter goes on, unless it is meant for something that has the focus.
fn keys(ctx: &Context, form: &mut Form) {
    let pressed = |key| ctx.input_mut(|i| i.consume_key(Modifiers::NONE, key));
    if !ctx.text_edit_focused() && pressed(Key::Escape) {
        form.seen = true;
    } else if !ctx.egui_wants_keyboard_input() && pressed(Key::Enter) {
        form.next();
    }
}

fn frame(ctx: &Context, layer: LayerId, rect: Rect, colour: Color32) {
    ctx.layer_painter(layer).rect_stroke(rect, 4.0, Stroke::new(3.0, colour), StrokeKind::Inside);
}

/// Beside a column, below or above a bar, and in the middle where there is nothing to point to.
fn place(screen: Rect, target: Option<Rect>) -> (Align2, Pos2) {
    let Some(rect) = target else { return (Align2::CENTER_CENTER, screen.center()) };
    let (right, left) = (screen.right() - rect.right(), rect.left() - screen.left());
    if right.max(left) > WIDTH + 2.0 * GAP {
        if right >= left {
            (Align2::LEFT_CENTER, rect.right_center() + vec2(GAP, 0.0))
        } else {
            (Align2::RIGHT_CENTER, rect.left_center() - vec2(GAP, 0.0))
        }
    } else if rect.center().y < screen.center().y {
        (Align2::CENTER_TOP, rect.center_bottom() + vec2(0.0, GAP))
    } else {
        (Align2::CENTER_BOTTOM, rect.center_top() - vec2(0.0, GAP))
    }
}

fn card_ui(ui: &mut Ui, state: &AppState, form: &mut Form, step: &Step, out: &mut Vec<Action>) {
    ui.set_width(WIDTH);
    let (at, last) = (form.step, form.step + 1 == STEPS.len());
    ui.heading(step.title);
    ui.label(step.text);
    action_ui(ui, state, form, step, out);
    let mut focus = false;
    ui.horizontal(|ui| {
        let next = ui.button(if last { "Finish" } else { "Next" });
        if form.told != Some(at) {
            next.request_focus();
            form.told = Some(at);
            focus = true;
        }
        if next.clicked() {
            form.next();
        }
        if ui.add_enabled(at > 0, Button::new("Back")).clicked() {
            form.back();
        }
        if !last && ui.button("Skip tour").clicked() {
            form.seen = true;
        }
        ui.label(format!("{} of {}", at + 1, STEPS.len()));
    });
    if focus {
        let (of, title, text) = (STEPS.len(), step.title, step.text);
        out.push(Action::Announce(format!("Tour, {} of {of}: {title}. {text}", at + 1)));
    }
}

/// What a step lets people do at once.
fn action_ui(ui: &mut Ui, state: &AppState, form: &mut Form, step: &Step, out: &mut Vec<Action>) {
    let first = state.preset.is_some() && state.stage.is_none() && state.shows(Control::Run);
    let mut follow = |link| out.push(Action::Follow(Box::new(link), Vec::new()));
    if step.anchor == "stages" && first && ui.button("Start stage 1 now").clicked() {
        follow(Permalink { stage: Some(Stage::Connector), run: true, ..Permalink::default() });
        form.next();
    }
    if step.anchor == "lessons" && state.shows(Control::Lessons) && ui.button("Open the first lesson").clicked() {
        let lesson = LESSONS.first().map(|l| l.name.to_owned());
        follow(Permalink { lesson, ..Permalink::default() });
        form.seen = true;
    }
}
