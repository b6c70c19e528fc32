//! The model as a diagram: what is frozen, what trains, and formula and shaders of the box that is pointed at.

use std::borrow::Cow;

use eframe::egui::{Frame, RichText, ScrollArea, Sense, Ui, Vec2, vec2};

use super::diagram::{self, Scene, lock_word};
use super::format::compact;
use super::links;
use super::picture::Thumb;
use super::widgets::small;
use crate::app::actions::Action;
use crate::app::{AppState, Control, theme};
use crate::engine::{Beside, Block, BlockId, Lane, Outline, Preset, Stage};

/// Height of the details under the diagram; fixed, so that nothing below jumps while the pointer moves over boxes.
const DETAIL_HEIGHT: f32 = 112.0;

/// An outline with what it was made from.
struct Made {
    preset: Box<Preset>,
    lane: Lane,
    stage: Option<Stage>,
    outline: Outline,
}

/// What people type and choose here.
#[derive(Default)]
pub struct Form {
    /// Show the flattened control in place of the linked model?
    pub control: bool,
    /// Box whose details stay.
    pub pinned: Option<BlockId>,
    /// Box that was pointed at or had the keyboard's focus in the last frame.
    pub pointed: Option<BlockId>,
    /// Which depth each link reads.
    pub links: links::Form,
    made: Option<Made>,
    thumb: Thumb,
}

impl Form {
    /// The outline of this moment; made again only when model, lane or stage change.
    fn outline(&mut self, preset: &Preset, lane: Lane, stage: Option<Stage>) -> &Outline {
        let fits = |m: &Made| {
            let p = &m.preset;
            m.lane == lane
                && m.stage == stage
                && p.name == preset.name
                && p.model == preset.model
                && p.scope == preset.scope
        };
        let kept = self.made.take().filter(fits);
        let made = kept.unwrap_or_else(|| Made {
            preset: Box::new(preset.clone()),
            lane,
            stage,
            outline: Outline::new(preset, lane, stage),
        });
        &self.made.insert(made).outline
    }
}

/// What the stage trains, in a sentence.
#[must_use]
pub fn caption(outline: &Outline, stage: Option<Stage>) -> String {
    let (all, trained) = outline.totals();
    match stage {
        Some(s) => format!("stage {} trains {} of {} parameters", s.number(), compact(trained), compact(all)),
        None => format!("before stage 1 nothing trains; the model has {} parameters", compact(all)),
    }
}

/// Draws the panel.
pub fn model_ui(ui: &mut Ui, state: &AppState, form: &mut Form, out: &mut Vec<Action>) {
    if !state.shows(Control::Diagram) {
        return;
    }
    let Some(preset) = &state.preset else {
        ui.label("The model will be drawn here once it is loaded.");
        return;
    };
    form.control &= state.beside.is_some();
    if state.beside.is_some() {
        ui.horizontal(|ui| {
            ui.label("Show");
            ui.selectable_value(&mut form.control, false, state.log.name(Lane::Hive));
            ui.selectable_value(&mut form.control, true, state.log.name(Lane::Control));
        });
    }
    let lane = if form.control { Lane::Control } else { Lane::Hive };
    let other = state.beside.as_ref().filter(|_| form.control);
    let (drawn, wired, stage) = seen(preset, other, state.stage);
    let (mut pinned, pointed) = (form.pinned, form.pointed);
    let mut links = std::mem::take(&mut form.links);
    let texture = state.picture.as_ref().and_then(|p| form.thumb.texture(ui.ctx(), &p.pixels, false));
    let outline = form.outline(&drawn, wired, stage);
    ui.horizontal(|ui| {
        ui.label(caption(outline, stage));
        if state.shows(Control::Norms) && state.norms.get(&lane).is_some_and(|n| !n.is_empty()) {
            norm_scale(ui);
        }
    });
    let movable = lane == Lane::Hive && state.shows(Control::Links);
    if movable {
        links::links_ui(ui, preset, &mut links);
    }
    let depths = if movable { links.depths(preset) } else { Vec::new() };
    let question = if state.asked.question.is_empty() { &state.question } else { &state.asked.question };
    let norms = if state.shows(Control::Norms) { state.norms.get(&lane).map_or(&[][..], Vec::as_slice) } else { &[] };
    let marked = pointed.or(pinned);
    let scene = Scene { outline, lane, depths: &depths, movable, norms, texture, question, marked, pinned };
    let touched = diagram::draw(ui, &scene);
    if movable {
        links::use_ui(ui, state, preset, &mut links, out);
    }
    if let Some(id) = touched.clicked {
        pinned = (pinned != Some(id)).then_some(id);
    }
    let shown = touched.pointed.or(pinned);
    let block = shown.and_then(|id| outline.blocks().find(|b| b.id == id));
    details(ui, block, block.is_some_and(|b| Some(b.id) == pinned));
    if let Some((link, depth)) = touched.moved {
        links.choose(preset, link, depth);
    }
    (form.pinned, form.pointed, form.links) = (pinned, touched.pointed, links);
}

/// What is drawn of the model, or of the one beside it: its recipe, its wiring as a lane, and the stage that it is in.
fn seen<'a>(
    preset: &'a Preset,
    other: Option<&Beside>,
    stage: Option<Stage>,
) -> (Cow<'a, Preset>, Lane, Option<Stage>) {
    let Some(beside) = other else { return (Cow::Borrowed(preset), Lane::Hive, stage) };
    let made = beside.preset(preset).map_or(Cow::Borrowed(preset), Cow::Owned);
    match beside {
        Beside::Flattened => (made, Lane::Control, stage),
        Beside::MoreOfStageTwo if stage == Some(Stage::Vision) => (made, Lane::Hive, Some(Stage::Adaptation)),
        Beside::Links(_) | Beside::MoreOfStageTwo => (made, Lane::Hive, stage),
    }
}

/// What the colours of boxes mean.
fn norm_scale(ui: &mut Ui) {
    ui.separator();
    ui.label(small("gradient norm 0.001"));
    let (rect, _) = ui.allocate_exact_size(vec2(60.0, 10.0), Sense::hover());
    let steps = 30;
    for i in 0..steps {
        let part = vec2(rect.width() / steps as f32, rect.height());
        let at = rect.min + vec2(part.x * i as f32, 0.0);
        let cell = eframe::egui::Rect::from_min_size(at, part + vec2(0.5, 0.0));
        ui.painter().rect_filled(cell, 0.0, theme::heat(i as f32 / (steps - 1) as f32));
    }
    ui.label(small("3"));
}

fn details(ui: &mut Ui, block: Option<&Block>, pinned: bool) {
    Frame::group(ui.style()).show(ui, |ui| {
        ui.set_min_size(Vec2::new(ui.available_width(), DETAIL_HEIGHT - 12.0));
        ScrollArea::vertical().id_salt("details").max_height(DETAIL_HEIGHT - 12.0).auto_shrink([false, false]).show(
            ui,
            |ui| match block {
                Some(block) => detail(ui, block, pinned),
                None => {
                    ui.label(
                        "Point at a box, or press Tab, to see its formula, tensors and shaders. \
                         Click it to keep them.",
                    );
                    ui.label(small(
                        "A padlock and a thin frame mark what is frozen, a thick frame what trains. A filled box has a \
                         gradient; its colour is the norm |g|. A wire shows which depth of the tower feeds which \
                         layer; its left end can be dragged to another depth.",
                    ));
                }
            },
        );
    });
}

fn detail(ui: &mut Ui, block: &Block, pinned: bool) {
    ui.horizontal_wrapped(|ui| {
        ui.strong(&block.title);
        ui.label(lock_word(block));
        ui.label(format!("{} of {} parameters train", compact(block.trained), compact(block.parameters)));
        ui.label(&block.shape);
        if pinned {
            ui.weak("kept until you click it again");
        }
    });
    ui.label(RichText::new(block.kind.formula()).monospace());
    let shaders: Vec<String> = block.kind.shaders().iter().map(|s| format!("shaders/{s}/*.wgsl")).collect();
    ui.label(small(shaders.join("  ")).monospace());
    let size = |shape: &[usize]| shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" × ");
    let tensors: Vec<String> = block.tensors.iter().map(|(name, shape)| format!("{name} {}", size(shape))).collect();
    if tensors.is_empty() {
        ui.label(small("no parameters"));
    } else {
        ui.label(small(tensors.join(" · ")));
    }
}
