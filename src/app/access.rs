//! Accessibility in the page: the widget tree, mirrored into the DOM. A canvas says nothing to screen readers, so the page
//! keeps an invisible element per widget over it; what they click there is clicked here. A native window needs none of this.

use std::collections::HashMap;

use eframe::egui::accesskit::{Action, ActionRequest, Node, NodeId, Role, Toggled, TreeId, TreeUpdate};
use eframe::egui::{self, Event, FullOutput, Plugin, RawInput};

use crate::platform::{self, MirrorChange, MirrorNode};

/// Seconds between two updates of the mirror.
const PAUSE_SECS: f64 = 0.2;

/// The plugin that keeps the mirror.
#[derive(Default)]
pub struct Access {
    shown: Vec<MirrorNode>,
    last: f64,
}

impl Access {
    /// Adds the plugin where the platform needs one.
    pub fn install(ctx: &egui::Context) {
        if platform::MIRRORS_ACCESS {
            ctx.enable_accesskit();
            let wake = ctx.clone();
            platform::watch_mirror_clicks(move || wake.request_repaint());
            ctx.add_plugin(Self::default());
        }
    }
}

impl Plugin for Access {
    fn debug_name(&self) -> &'static str {
        "access"
    }

    fn input_hook(&mut self, _ctx: &egui::Context, input: &mut RawInput) {
        for id in platform::take_mirror_clicks() {
            let is_field = self.shown.iter().any(|n| n.id == id && n.role == "textbox");
            let action = if is_field { Action::Focus } else { Action::Click };
            let (target_tree, target_node) = (TreeId::ROOT, NodeId(id));
            let request = ActionRequest { action, target_tree, target_node, data: None };
            input.events.push(Event::AccessKitActionRequest(request));
        }
    }

    fn output_hook(&mut self, ctx: &egui::Context, output: &mut FullOutput) {
        let Some(update) = output.platform_output.accesskit_update.take() else { return };
        // What is laid out once more is never drawn.
        let passes = ctx.options(|o| o.max_passes.get());
        if output.platform_output.requested_discard() && output.platform_output.num_completed_passes < passes {
            return;
        }
        let now = platform::now_secs();
        let wait = self.last + PAUSE_SECS - now;
        if wait > 0.0 {
            ctx.request_repaint_after_secs(wait as f32);
            return;
        }
        self.last = now;
        let nodes = read(&update, ctx.zoom_factor());
        let change = compare(&self.shown, &nodes);
        if !change.is_empty() {
            platform::mirror(&change);
        }
        self.shown = nodes;
    }
}

/// ARIA's name of a role; none for what is not mirrored.
fn role_name(node: &Node) -> Option<&'static str> {
    Some(match node.role() {
        Role::Label => "",
        Role::Button | Role::DefaultButton | Role::ColorWell | Role::DisclosureTriangle => "button",
        Role::Link => "link",
        Role::CheckBox => "checkbox",
        Role::RadioButton => "radio",
        Role::Switch => "switch",
        Role::ComboBox => "combobox",
        Role::ListBoxOption => "option",
        Role::Tab => "tab",
        Role::TextInput | Role::MultilineTextInput | Role::PasswordInput | Role::SearchInput => "textbox",
        Role::Slider => "slider",
        Role::SpinButton => "spinbutton",
        Role::Heading => "heading",
        Role::MenuItem => "menuitem",
        Role::Splitter => "separator",
        Role::ProgressIndicator => "progressbar",
        Role::Image => "img",
        Role::Alert => "alert",
        Role::TextRun | Role::Window => return None,
        _ if node.label().is_some() => "group",
        _ => return None,
    })
}

/// Mirrored widgets of a tree in reading order, in CSS pixels.
fn read(update: &TreeUpdate, zoom: f32) -> Vec<MirrorNode> {
    let all: HashMap<NodeId, &Node> = update.nodes.iter().map(|(id, node)| (*id, node)).collect();
    let mut out = Vec::new();
    let mut rest: Vec<NodeId> = update.tree.iter().map(|t| t.root).collect();
    while let Some(id) = rest.pop() {
        let Some(node) = all.get(&id) else { continue };
        rest.extend(node.children().iter().rev());
        let Some(role) = role_name(node) else { continue };
        let named_by = || {
            let labels = node.labelled_by().iter().filter_map(|id| all.get(id)?.value());
            labels.collect::<Vec<_>>().join(" ")
        };
        let (name, value) = match role {
            "" => (node.value().unwrap_or_default().to_owned(), String::new()),
            _ => {
                let name = node.label().map_or_else(named_by, str::to_owned);
                let name = if name.is_empty() { node.placeholder().unwrap_or_default().to_owned() } else { name };
                let number = node.numeric_value().map(|v| ((v * 1e3).round() / 1e3).to_string());
                (name, node.value().map(str::to_owned).or(number).unwrap_or_default())
            }
        };
        if name.is_empty() && value.is_empty() {
            continue;
        }
        let toggled = node.toggled().map(|t| t == Toggled::True);
        out.push(MirrorNode {
            id: id.0,
            role,
            name,
            value,
            toggled,
            disabled: node.is_disabled(),
            bounds: place(node, zoom),
        });
    }
    out
}

fn place(node: &Node, zoom: f32) -> [i32; 4] {
    let pixels = |points: f64| (points * f64::from(zoom)).round() as i32;
    node.bounds().map_or([0; 4], |b| [pixels(b.x0), pixels(b.y0), pixels(b.x1 - b.x0), pixels(b.y1 - b.y0)])
}

/// What has to be done to `old` to have `new`.
fn compare(old: &[MirrorNode], new: &[MirrorNode]) -> MirrorChange {
    let before: HashMap<u64, &MirrorNode> = old.iter().map(|n| (n.id, n)).collect();
    let after: HashMap<u64, &MirrorNode> = new.iter().map(|n| (n.id, n)).collect();
    let gone: Vec<u64> = old.iter().map(|n| n.id).filter(|id| !after.contains_key(id)).collect();
    let put = new.iter().filter(|n| before.get(&n.id) != Some(n)).cloned().collect();
    let kept = old.iter().map(|n| n.id).filter(|id| after.contains_key(id));
    let order = (!kept.eq(new.iter().map(|n| n.id))).then(|| new.iter().map(|n| n.id).collect());
    MirrorChange { gone, put, order }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use eframe::egui::accesskit::{Rect, TreeInfo};

    use super::*;

    fn node(id: u64, name: &str) -> MirrorNode {
        MirrorNode { id, role: "button", name: name.into(), ..MirrorNode::default() }
    }

    #[test]
    fn only_what_changed_is_told() {
        let (a, b, c) = (node(1, "a"), node(2, "b"), node(3, "c"));
        let old = [a.clone(), b.clone()];
        assert!(compare(&old, &old).is_empty());
        let other = node(2, "other");
        let change = compare(&old, &[a.clone(), other.clone()]);
        assert_eq!(change, MirrorChange { gone: vec![], put: vec![other], order: None });
        let change = compare(&old, &[b.clone(), c.clone()]);
        assert_eq!(change, MirrorChange { gone: vec![1], put: vec![c], order: Some(vec![2, 3]) });
        assert_eq!(compare(&old, &[b, a]).order, Some(vec![2, 1]));
        assert_eq!(compare(&old, &[]), MirrorChange { gone: vec![1, 2], put: vec![], order: None });
    }

    #[test]
    fn a_tree_is_read_in_order_with_names_values_and_places() {
        let mut root = Node::new(Role::Window);
        root.set_children(vec![NodeId(5), NodeId(2), NodeId(3)]);
        let mut group = Node::new(Role::GenericContainer);
        group.set_children(vec![NodeId(4)]);
        let mut label = Node::new(Role::Label);
        label.set_value("Question");
        let mut field = Node::new(Role::TextInput);
        field.set_value("what is it ?");
        field.push_labelled_by(NodeId(2));
        field.set_bounds(Rect { x0: 10.0, y0: 20.4, x1: 30.0, y1: 40.4 });
        let mut tick = Node::new(Role::CheckBox);
        tick.set_label("control");
        tick.set_toggled(Toggled::True);
        tick.set_disabled();
        let nodes = vec![
            (NodeId(1), root),
            (NodeId(2), label),
            (NodeId(3), field),
            (NodeId(4), tick),
            (NodeId(5), group),
            (NodeId(6), Node::new(Role::Button)),
        ];
        let update =
            TreeUpdate { nodes, tree: Some(TreeInfo::new(NodeId(1))), tree_id: TreeId::ROOT, focus: NodeId(1) };
        let read = read(&update, 2.0);
        let ids: Vec<u64> = read.iter().map(|n| n.id).collect();
        assert_eq!(ids, [4, 2, 3]);
        assert_eq!((read[0].role, read[0].toggled, read[0].disabled), ("checkbox", Some(true), true));
        assert_eq!((read[1].role, read[1].name.as_str()), ("", "Question"));
        assert_eq!((read[2].name.as_str(), read[2].value.as_str()), ("Question", "what is it ?"));
        assert_eq!(read[2].bounds, [20, 41, 40, 40]);
    }
}
