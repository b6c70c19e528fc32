//! The widget tree as invisible elements over the canvas: what screen readers read, and what they click.

use std::cell::RefCell;
use std::collections::HashMap;

use wasm_bindgen::JsCast as _;
use wasm_bindgen::closure::Closure;
use web_sys::{Element, Event, HtmlElement};

use super::mirror::{MirrorChange, MirrorNode};
use super::web::element;

/// Must the widget tree be mirrored for screen readers?
pub const MIRRORS_ACCESS: bool = true;

/// The element of `index.html` that holds the mirror.
const PLACE: &str = "hive-access";
/// Attribute with the widget's id.
const NODE: &str = "data-node";

thread_local! {
    static ELEMENTS: RefCell<HashMap<u64, Element>> = RefCell::default();
    static CLICKS: RefCell<Vec<u64>> = RefCell::default();
}

/// Listens for clicks on mirrored widgets: screen readers click elements. `wake` is called after each.
pub fn watch_mirror_clicks(wake: impl Fn() + 'static) {
    let Some(place) = element(PLACE) else { return };
    let listener = Closure::<dyn FnMut(Event)>::new(move |event: Event| {
        let clicked = event.target().and_then(|t| t.dyn_into::<Element>().ok());
        let id =
            clicked.and_then(|e| e.closest(&format!("[{NODE}]")).ok().flatten()).and_then(|e| e.get_attribute(NODE));
        if let Some(id) = id.and_then(|text| text.parse().ok()) {
            CLICKS.with_borrow_mut(|clicks| clicks.push(id));
            // The keyboard goes to the canvas, as after a real click.
            if let Some(canvas) = element("hive-canvas").and_then(|c| c.dyn_into::<HtmlElement>().ok()) {
                let _ = canvas.focus();
            }
            wake();
        }
    });
    let _ = place.add_event_listener_with_callback("click", listener.as_ref().unchecked_ref());
    // It lives as long as the page.
    listener.forget();
}

/// Widgets that were clicked in the mirror since the last call.
#[must_use]
pub fn take_mirror_clicks() -> Vec<u64> {
    CLICKS.with_borrow_mut(std::mem::take)
}

/// Brings the mirror up to date.
pub fn mirror(change: &MirrorChange) {
    let Some(place) = element(PLACE) else { return };
    ELEMENTS.with_borrow_mut(|elements| {
        for id in &change.gone {
            if let Some(gone) = elements.remove(id) {
                gone.remove();
            }
        }
        for node in &change.put {
            let tag = if node.role.is_empty() { "P" } else { "DIV" };
            // A widget may change its kind; an element cannot.
            if elements.get(&node.id).is_some_and(|e| e.tag_name() != tag)
                && let Some(old) = elements.remove(&node.id)
            {
                old.remove();
            }
            if !elements.contains_key(&node.id)
                && let Some(new) = place.owner_document().and_then(|d| d.create_element(tag).ok())
                && place.append_child(&new).is_ok()
            {
                elements.insert(node.id, new);
            }
            if let Some(e) = elements.get(&node.id) {
                show(e, node);
            }
        }
        for (i, id) in change.order.iter().flatten().enumerate() {
            let now = place.children().item(i as u32);
            if let Some(e) = elements.get(id)
                && now.as_ref() != Some(e)
            {
                let _ = place.insert_before(e, now.as_deref());
            }
        }
    });
}

fn show(e: &Element, node: &MirrorNode) {
    let [left, top, width, height] = node.bounds;
    let style = format!("left:{left}px;top:{top}px;width:{width}px;height:{height}px");
    let toggle = match node.role {
        "checkbox" | "radio" | "switch" => "aria-checked",
        "tab" | "option" => "aria-selected",
        _ => "aria-pressed",
    };
    let flag = |value: bool| Some(if value { "true" } else { "false" });
    let filled = |text: &'static str| (!text.is_empty()).then_some(text);
    let is_text = node.role.is_empty();
    let attributes = [
        (NODE, Some(node.id.to_string())),
        ("style", Some(style)),
        ("role", filled(node.role).map(str::to_owned)),
        ("tabindex", (!is_text).then(|| "-1".to_owned())),
        ("aria-label", (!is_text).then(|| node.name.clone())),
        (toggle, node.toggled.and_then(flag).map(str::to_owned)),
        ("aria-disabled", node.disabled.then(|| "true".to_owned())),
        ("aria-valuenow", (node.role == "slider").then(|| node.value.clone())),
        ("data-value", (!node.value.is_empty()).then(|| node.value.clone())),
    ];
    for (name, value) in attributes {
        // Both fail for malformed names only.
        let _ = match value {
            Some(value) => e.set_attribute(name, &value),
            None => e.remove_attribute(name),
        };
    }
    let text = if is_text { &node.name } else { &node.value };
    e.set_text_content(Some(text));
}
