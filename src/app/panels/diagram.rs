//! Boxes and wires of the model's diagram: tower left, links in the middle, decoder right, data flowing up.

use eframe::egui::epaint::CubicBezierShape;
use eframe::egui::{
    Align2, Color32, CornerRadius, CursorIcon, FontId, Painter, Pos2, Rect, Response, Role, ScrollArea, Sense, Shape,
    Stroke, StrokeKind, TextureHandle, Ui, WidgetInfo, pos2, vec2,
};

use super::format::{compact, short};
use crate::app::theme;
use crate::engine::{Block, BlockId, Lane, Outline};

/// Height above which the diagram scrolls.
const MOST_HEIGHT: f32 = 350.0;
/// Space for the columns' names.
const HEAD: f32 = 16.0;
/// Space for the picture and the question.
const FOOT: f32 = 46.0;

/// What is drawn.
#[allow(missing_docs, reason = "the names say it")]
pub struct Scene<'a> {
    pub outline: &'a Outline,
    pub lane: Lane,
    /// Depth that each link reads, as chosen; those that are not in use yet are dashed.
    pub depths: &'a [usize],
    /// Can people move the wires' ends?
    pub movable: bool,
    /// Gradient norms by block.
    pub norms: &'a [(BlockId, f32)],
    /// The picture at the tower's foot.
    pub texture: Option<TextureHandle>,
    /// The words at the decoder's foot.
    pub question: &'a str,
    /// Block whose wires are marked.
    pub marked: Option<BlockId>,
    /// Block whose details are kept.
    pub pinned: Option<BlockId>,
}

/// What happened to the boxes.
#[derive(Default)]
pub struct Touched {
    /// Pointed at, or else with the keyboard's focus.
    pub pointed: Option<BlockId>,
    /// Clicked, or chosen with Enter.
    pub clicked: Option<BlockId>,
    /// Link whose wire is drawn to another depth.
    pub moved: Option<(usize, usize)>,
}

/// Where a gradient norm stands on the scale from 0.001 to 3, 0 to 1; the scale is logarithmic and never moves, so that
/// colours can be compared over time.
#[must_use]
pub fn norm_share(norm: f32) -> f32 {
    ((norm.max(1e-9).log10() + 3.0) / (3.0 + 3.0_f32.log10())).clamp(0.0, 1.0)
}

/// `frozen`, `trained` or `partly trained`.
#[must_use]
pub fn lock_word(block: &Block) -> &'static str {
    match block.trained {
        0 => "frozen",
        t if t < block.parameters => "partly trained",
        _ => "trained",
    }
}

/// Boxes of the three columns, bottom up.
struct Layout {
    columns: [Vec<Rect>; 3],
    dense: bool,
    height: f32,
}

fn layout(outline: &Outline, at: Pos2, width: f32) -> Layout {
    let counts = [outline.tower.len(), outline.links.len(), outline.decoder.len()];
    let most = counts.into_iter().max().unwrap_or(1).max(1);
    let dense = most > 8;
    let (pitch, tallest, gap) = if dense { (23.0, 19.0, 4.0) } else { (42.0, 36.0, 6.0) };
    let body = most as f32 * pitch;
    let side = (width * 0.315).min(260.0);
    let middle = (width * 0.25).min(220.0);
    let lefts = [0.0, (width - middle) * 0.5, width - side];
    let columns = [0, 1, 2].map(|c| {
        let step = body / counts[c].max(1) as f32;
        let height = (step - gap).min(tallest);
        let wide = if c == 1 { middle } else { side };
        (0..counts[c])
            .map(|i| {
                let center = HEAD + body - (i as f32 + 0.5) * step;
                Rect::from_min_size(at + vec2(lefts[c], center - height * 0.5), vec2(wide, height))
            })
            .collect()
    });
    Layout { columns, dense, height: HEAD + body + FOOT }
}

/// Draws the diagram and tells what was touched.
pub fn draw(ui: &mut Ui, scene: &Scene<'_>) -> Touched {
    let height = layout(scene.outline, Pos2::ZERO, ui.available_width()).height;
    if height > MOST_HEIGHT {
        let area = ScrollArea::vertical().id_salt("diagram").max_height(MOST_HEIGHT).auto_shrink([false, true]);
        area.show(ui, |ui| canvas(ui, scene, height)).inner
    } else {
        canvas(ui, scene, height)
    }
}

fn canvas(ui: &mut Ui, scene: &Scene<'_>, height: f32) -> Touched {
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::hover());
    let layout = layout(scene.outline, rect.min, rect.width());
    let Outline { tower, links, decoder, .. } = scene.outline;
    let middle = if scene.outline.wires.is_empty() { "projector" } else { "links" };
    let names = ["vision tower", middle, "language model"];
    for (column, name) in layout.columns.iter().zip(names) {
        if let Some(top) = column.last() {
            let at = pos2(top.center().x, rect.top());
            ui.painter().text(at, Align2::CENTER_TOP, name, FontId::proportional(12.0), ui.visuals().text_color());
        }
    }
    foot(ui, scene, &layout, rect);
    let starts = wires(ui, scene, &layout);
    let mut touched = Touched::default();
    for (blocks, rects) in [tower, links, decoder].into_iter().zip(&layout.columns) {
        for (block, rect) in blocks.iter().zip(rects) {
            let response = box_ui(ui, scene, block, *rect, layout.dense);
            if response.hovered() || (response.has_focus() && touched.pointed.is_none()) {
                touched.pointed = Some(block.id);
            }
            if response.gained_focus() {
                response.scroll_to_me(None);
            }
            if response.clicked() {
                touched.clicked = Some(block.id);
            }
        }
    }
    // Above the boxes, so that a pointer finds them first.
    for (link, start) in starts.into_iter().enumerate().filter(|_| scene.movable) {
        touched.moved = handle(ui, scene, &layout.columns[0], link, start).map(|depth| (link, depth)).or(touched.moved);
    }
    touched
}

/// The end of a wire that people can drag to another box of the tower; the depth it is dragged to.
fn handle(ui: &Ui, scene: &Scene<'_>, tower: &[Rect], link: usize, at: Pos2) -> Option<usize> {
    let id = ui.make_persistent_id(("wire", link));
    // No stop of the Tab key: the list of depths does the same.
    let response = ui.interact(Rect::from_center_size(at, vec2(14.0, 12.0)), id, Sense::DRAG | Sense::HOVER);
    let touched = response.hovered() || response.dragged();
    let colour = theme::lane(scene.lane, ui.visuals().dark_mode);
    ui.painter().circle(at, if touched { 5.5 } else { 4.0 }, colour, Stroke::new(1.0, ui.visuals().panel_fill));
    if touched {
        ui.ctx().set_cursor_icon(CursorIcon::ResizeVertical);
    }
    let pointer = response.dragged().then(|| response.interact_pointer_pos())??;
    let distance = |rect: &Rect| (rect.center().y - pointer.y).abs();
    // The tower's norm, on top, is read by nobody.
    let depths = tower.iter().take(tower.len().saturating_sub(1)).enumerate();
    let (depth, _) = depths.min_by(|a, b| distance(a.1).total_cmp(&distance(b.1)))?;
    (scene.depths.get(link) != Some(&depth)).then_some(depth)
}

/// Picture and question, where the data comes in.
fn foot(ui: &mut Ui, scene: &Scene<'_>, layout: &Layout, rect: Rect) {
    let (Some(patches), Some(embedding)) = (layout.columns[0].first(), layout.columns[2].first()) else { return };
    let (side, weak, ink) = (scene.outline.side, ui.visuals().weak_text_color(), ui.visuals().text_color());
    let line = Stroke::new(1.5, weak);
    let small = FontId::proportional(11.0);
    let picture = Rect::from_min_size(pos2(patches.left(), rect.bottom() - 40.0), vec2(40.0, 40.0));
    let painter = ui.painter();
    painter.line_segment([picture.center_top(), pos2(picture.center().x, patches.bottom())], line);
    if let Some(texture) = &scene.texture {
        let whole = Rect::from_min_max(Pos2::ZERO, pos2(1.0, 1.0));
        painter.image(texture.id(), picture, whole, Color32::WHITE);
    }
    let grid = Stroke::new(0.5, weak);
    for i in 0..=side.min(24) {
        let t = i as f32 / side.min(24) as f32;
        painter.vline(picture.left() + t * picture.width(), picture.y_range(), grid);
        painter.hline(picture.x_range(), picture.top() + t * picture.height(), grid);
    }
    let beside = pos2(picture.right() + 6.0, picture.center().y);
    painter.text(beside, Align2::LEFT_CENTER, format!("picture, {side} × {side} patches"), small.clone(), ink);
    let words =
        Rect::from_min_max(pos2(embedding.left(), rect.bottom() - 30.0), pos2(embedding.right(), rect.bottom() - 8.0));
    painter.line_segment([words.center_top(), embedding.center_bottom()], line);
    painter.rect_stroke(words, CornerRadius::same(4), Stroke::new(1.0, weak), StrokeKind::Inside);
    let text = if scene.question.is_empty() { "the question's words" } else { scene.question };
    painter.with_clip_rect(words.shrink(3.0)).text(
        words.left_center() + vec2(6.0, 0.0),
        Align2::LEFT_CENTER,
        text,
        small,
        ink,
    );
}

/// Draws the wires; where those of the links start.
fn wires(ui: &Ui, scene: &Scene<'_>, layout: &Layout) -> Vec<Pos2> {
    let [tower, links, decoder] = &layout.columns;
    let weak = ui.visuals().weak_text_color();
    let flow = Stroke::new(1.5, weak);
    for column in [tower, decoder] {
        for pair in column.windows(2) {
            ui.painter().line_segment([pair[0].center_top(), pair[1].center_bottom()], flow);
        }
    }
    // The control reads the state before the tower's last block and goes in beside the embedded words.
    let control = [(scene.outline.tower.len().saturating_sub(3), None)];
    let depth = |(i, (used, layer)): (usize, &(usize, usize))| (*scene.depths.get(i).unwrap_or(used), Some(*layer));
    let linked: Vec<(usize, Option<usize>)> = scene.outline.wires.iter().enumerate().map(depth).collect();
    let wires = if linked.is_empty() { control.as_slice() } else { &linked };
    let mut starts = Vec::new();
    let strong = theme::lane(scene.lane, ui.visuals().dark_mode);
    for (i, (depth, layer)) in wires.iter().enumerate() {
        let into = layer.map_or(1, |l| l + 1);
        let (Some(from), Some(link), Some(to)) = (tower.get(*depth), links.get(i), decoder.get(into)) else { continue };
        let ids = [scene.outline.tower.get(*depth), scene.outline.links.get(i), scene.outline.decoder.get(into)];
        let is_marked = ids.iter().flatten().any(|b| Some(b.id) == scene.marked);
        let stroke = if is_marked { Stroke::new(2.5, strong) } else { Stroke::new(1.2, strong.gamma_multiply(0.75)) };
        // Wires that start at the same box start side by side.
        let (before, all) = wires
            .iter()
            .enumerate()
            .fold((0, 0), |(b, n), (j, w)| if w.0 == *depth { (b + usize::from(j < i), n + 1) } else { (b, n) });
        let share = (before as f32 + 1.0) / (all as f32 + 1.0);
        let start = pos2(from.right(), from.bottom() - share * from.height());
        let is_used = scene.outline.wires.get(i).is_none_or(|used| used.0 == *depth);
        curve(ui, start, link.left_center(), stroke, !is_used);
        curve(ui, link.right_center(), to.left_center(), stroke, false);
        starts.push(start);
    }
    starts
}

fn curve(ui: &Ui, from: Pos2, to: Pos2, stroke: Stroke, dashed: bool) {
    let bend = vec2((to.x - from.x) * 0.5, 0.0);
    let points = [from, from + bend, to - bend, to];
    let curve = CubicBezierShape::from_points_stroke(points, false, Color32::TRANSPARENT, stroke);
    if dashed {
        ui.painter().extend(Shape::dashed_line(&curve.flatten(Some(0.5)), stroke, 5.0, 4.0));
    } else {
        ui.painter().add(curve);
    }
    let head = vec2(5.0, 3.0);
    let tip = vec![to, to - head, to - vec2(head.x, -head.y)];
    ui.painter().add(Shape::convex_polygon(tip, stroke.color, Stroke::NONE));
}

/// The name by which a box is found: everything it shows.
fn box_name(block: &Block, norm: Option<f32>) -> String {
    let size = compact(block.parameters);
    let norm = norm.map_or_else(String::new, |n| format!(", gradient norm {}", short(n.into())));
    format!("{}, {}, {}, {size} parameters{norm}", block.title, lock_word(block), block.shape)
}

fn box_ui(ui: &mut Ui, scene: &Scene<'_>, block: &Block, rect: Rect, dense: bool) -> Response {
    // A frozen block has no gradient; what stands in the list is left from an earlier stage.
    let norm = scene.norms.iter().find(|(id, _)| *id == block.id && block.trained > 0).map(|(_, n)| *n);
    let is_pinned = scene.pinned == Some(block.id);
    let id = ui.make_persistent_id(("box", block.id));
    let response = ui.interact(rect, id, Sense::click());
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, is_pinned, box_name(block, norm)));
    if !ui.is_rect_visible(rect) {
        return response;
    }
    let visuals = ui.visuals();
    let fill = match norm {
        Some(n) => theme::heat(norm_share(n)),
        None if block.trained > 0 => visuals.widgets.inactive.weak_bg_fill,
        None => visuals.extreme_bg_color,
    };
    let ink = if norm.is_some() { theme::ink_on(fill) } else { visuals.text_color() };
    let frame = if response.hovered() || response.has_focus() || is_pinned {
        Stroke::new(2.5, visuals.selection.stroke.color)
    } else if block.trained > 0 {
        Stroke::new(2.0, theme::lane(scene.lane, visuals.dark_mode))
    } else {
        Stroke::new(1.0, visuals.weak_text_color())
    };
    ui.painter().rect(rect, CornerRadius::same(4), fill, frame, StrokeKind::Inside);
    let painter = ui.painter().with_clip_rect(rect.shrink(2.0).intersect(ui.clip_rect()));
    let inner = rect.shrink2(vec2(6.0, 2.0));
    let put =
        |at: Pos2, align: Align2, text: &str, size: f32| painter.text(at, align, text, FontId::proportional(size), ink);
    let lock = lock_word(block);
    let size = compact(block.parameters);
    if dense {
        let right = norm.map_or_else(|| format!("{size} · {lock}"), |n| format!("{size} · |g| {}", short(n.into())));
        put(inner.left_center(), Align2::LEFT_CENTER, &block.title, 11.0);
        let text = put(inner.right_center(), Align2::RIGHT_CENTER, &right, 10.0);
        if block.trained == 0 {
            padlock(&painter, text.left_center(), ink);
        }
    } else {
        let shape = block.shape.split(" (").next().unwrap_or("");
        put(inner.left_top(), Align2::LEFT_TOP, &block.title, 13.0);
        let text = put(inner.right_top() + vec2(0.0, 1.0), Align2::RIGHT_TOP, lock, 11.0);
        if block.trained == 0 {
            padlock(&painter, text.left_center(), ink);
        }
        let left = if rect.width() > 175.0 { format!("{shape} · {size}") } else { size };
        put(inner.left_bottom(), Align2::LEFT_BOTTOM, &left, 11.0);
        if let Some(n) = norm {
            put(inner.right_bottom(), Align2::RIGHT_BOTTOM, &format!("|g| {}", short(n.into())), 11.0);
        }
    }
    response
}

/// A padlock left of a text; the app's fonts have none.
fn padlock(painter: &Painter, right: Pos2, ink: Color32) {
    let body = Rect::from_min_size(right + vec2(-11.0, -1.0), vec2(7.0, 5.0));
    let arch = [vec2(1.5, 0.0), vec2(1.5, -2.5), vec2(3.5, -4.0), vec2(5.5, -2.5), vec2(5.5, 0.0)];
    painter.line(arch.map(|v| body.min + v).to_vec(), Stroke::new(1.2, ink));
    painter.rect_filled(body, 1.0, ink);
}
