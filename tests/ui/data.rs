//! Left column: presets, examples, own pictures, the canvas.

use std::sync::Arc;

use eframe::egui::{ColorImage, Event as Input, Key};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use hive::app::Control;
use hive::app::actions::{Request, choose_picture};
use hive::app::files::Purpose;
use hive::app::panels::data::data_ui;
use hive::app::panels::draw::draw_ui;
use hive::app::permalink::Panel;
use hive::app::shell::layout_ui;
use hive::data::{Dataset, Split};
use hive::engine::{Command, Event, FaultKind, Opened};

use crate::common::{Bench, harness, harness_after, opened, training};

/// As wide as in the window.
fn column(bench: Bench) -> Harness<'static, Bench> {
    harness_after(bench, choose_picture, |ui, s, f, out| {
        ui.set_max_width(270.0);
        data_ui(ui, s, &mut f.data, out);
    })
}

/// Name, whether trained, and whether with control, of the presets that are to be opened.
fn opens(h: &Harness<'_, Bench>) -> Vec<(String, bool, bool)> {
    let open = |c: &Command| match c {
        Command::Open(open) => Some((open.preset.name.clone(), open.trained, open.beside.is_some())),
        _ => None,
    };
    h.state().out.iter().filter_map(open).collect()
}

#[test]
fn a_card_opens_its_preset() {
    let mut h = column(opened());
    h.get_by_label("Shapes").click();
    h.run();
    assert_eq!(opens(&h), [("shapes".to_owned(), false, false)]);
}

#[test]
fn the_demos_world_has_a_card() {
    let mut h = column(opened());
    h.get_by_label("Open grounds trained").click();
    h.run();
    assert_eq!(opens(&h), [("grounds".to_owned(), true, false)]);
    let mut h = column(opened());
    h.get_by_label("Grounds").click();
    h.run();
    assert_eq!(opens(&h), [("grounds".to_owned(), false, false)]);
}

#[test]
fn a_card_opens_the_trained_model_too() {
    let mut bench = opened();
    bench.state.beside = Some(hive::engine::Beside::Flattened);
    let mut h = column(bench);
    h.get_by_label("Open pictures trained").click();
    h.run();
    assert_eq!(opens(&h), [("pictures".to_owned(), true, false)]);
}

#[test]
fn the_card_of_a_run_in_progress_throws_nothing_away() {
    let mut h = column(training(3));
    h.get_by_label("Pictures").click();
    h.run();
    assert_eq!(opens(&h), []);
    h.get_by_label("Shapes").click();
    h.run();
    assert_eq!(opens(&h).len(), 1);
}

#[test]
fn the_first_example_is_selected_by_itself() {
    let mut h = column(opened());
    h.run();
    let sample = Dataset::Pictures.sample(Split::HeldOut, 0, 0, 1);
    let state = &h.state().state;
    assert_eq!(state.picture.as_ref().unwrap().origin.to_string(), "held-out 0");
    assert_eq!(state.question, sample.turns[0].question);
}

#[test]
fn a_typed_question_outlives_the_first_example() {
    let mut bench = opened();
    bench.state.question = "where is the dog ?".into();
    let mut h = column(bench);
    h.run();
    assert!(h.state().state.picture.is_some());
    assert_eq!(h.state().state.question, "where is the dog ?");
}

#[test]
fn another_data_set_brings_its_own_question() {
    let mut h = column(opened());
    h.run();
    assert_eq!(h.state().state.picture.as_ref().unwrap().pixels.len(), 3 * 48 * 48);
    let Some(Command::Open(open)) = h.state().state.open("shapes", None, false) else { panic!() };
    let words = vec!["what".to_owned()];
    let opened = Opened { preset: open.preset, words, beside: None, stage: None, update: 0, log: None };
    h.state_mut().tell(Event::Opened(Box::new(opened)));
    h.run();
    let sample = Dataset::Shapes.sample(Split::HeldOut, 0, 0, 1);
    let state = &h.state().state;
    assert_eq!(*state.picture.as_ref().unwrap().pixels, sample.pixels);
    assert_eq!(state.question, sample.turns[0].question);
}

#[test]
fn a_link_chooses_the_example() {
    let mut bench = opened();
    bench.state.wanted_example = Some(8);
    let mut h = column(bench);
    h.run();
    assert_eq!(h.state().state.picture.as_ref().unwrap().origin.to_string(), "held-out 8");
    assert_eq!(h.state().state.wanted_example, None);
    h.get_by_label("✔ 8 selected");
}

#[test]
fn an_example_becomes_the_picture_with_question_and_answer() {
    let mut h = column(opened());
    h.get_by_label("Example 2").click();
    h.run();
    let sample = |index| Dataset::Pictures.sample(Split::HeldOut, 0, index, 1);
    let (wanted, next) = (sample(2), sample(3));
    let state = &h.state().state;
    let picture = state.picture.as_ref().unwrap();
    assert_eq!(*picture.pixels, wanted.pixels);
    let turn = &wanted.turns[0];
    assert_eq!(picture.right, Some((turn.question.clone(), turn.answer.clone())));
    assert_eq!(*state.other.as_ref().unwrap().pixels, next.pixels);
    assert_eq!(state.question, turn.question);
    h.get_by_label(&format!("{} Right answer “{}”", turn.question, turn.answer));
    h.get_by_label("✔ 2 selected");
}

#[test]
fn there_are_more_examples() {
    let mut h = column(opened());
    assert!(h.query_by_label("Example 6").is_none());
    h.get_by_label("Previous").click();
    h.get_by_label("Next").click();
    h.run();
    h.get_by_label("Example 6").click();
    h.run();
    assert_eq!(h.state().state.picture.as_ref().unwrap().origin.to_string(), "held-out 6");
    h.get_by_label("Previous").click();
    h.run();
    h.get_by_label("Example 0");
}

#[test]
fn teachers_can_hide_the_column() {
    for (control, label) in [
        ("presets", "Pictures"),
        ("examples", "Example 1"),
        ("own-picture", "Choose a picture…"),
        ("draw", "Draw a picture"),
    ] {
        let h = column(opened());
        assert!(h.query_by_label(label).is_some(), "{label}");
        let mut bench = opened();
        bench.state.link.hide = vec![Control::parse(control).unwrap()];
        let h = column(bench);
        assert!(h.query_by_label(label).is_none(), "{label} with {control} hidden");
    }
}

#[test]
fn the_button_asks_the_shell_for_a_file() {
    let mut h = column(opened());
    h.get_by_label("Choose a picture…").click();
    h.run();
    assert_eq!(h.state().asked, [Request::Pick(Purpose::Picture)]);
}

/// A white square with a transparent, black corner.
fn png() -> Vec<u8> {
    let mut image = image::RgbaImage::from_pixel(8, 8, image::Rgba([255; 4]));
    image.put_pixel(0, 0, image::Rgba([0; 4]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

#[test]
fn a_picture_file_is_taken_on_white_paper() {
    let mut bench = opened();
    bench.take_picture("cat.png", &png());
    let picture = bench.state.picture.clone().unwrap();
    assert_eq!(
        (picture.origin.to_string().as_str(), picture.pixels.len(), picture.right),
        ("cat.png", 3 * 48 * 48, None)
    );
    assert!(picture.pixels.iter().all(|v| *v > 0.99));
    let h = column(bench);
    h.get_by_label_contains("cat.png is selected");
}

#[test]
fn a_bad_picture_file_gives_a_card() {
    let mut bench = opened();
    bench.take_picture("cat.png", b"no picture");
    assert_eq!(bench.state.picture, None);
    let fault = &bench.state.faults[0];
    assert_eq!(fault.kind, FaultKind::File);
    assert_eq!(fault.what, "cat.png cannot be read as a picture.");
    assert!(fault.remedy.contains("PNG, JPEG or WebP"), "{}", fault.remedy);
}

#[test]
fn a_picture_before_the_model_gives_a_card() {
    let mut bench = Bench::default();
    bench.take_picture("cat.png", &png());
    assert_eq!(bench.state.faults[0].kind, FaultKind::File);
}

/// Also while the column that shows it is closed.
#[test]
fn a_picture_can_be_pasted() {
    for open in [true, false] {
        let mut bench = opened();
        bench.state.link.set_open(Panel::Data, open);
        let mut h = harness_after(bench, choose_picture, layout_ui);
        let image = ColorImage::filled([4, 4], eframe::egui::Color32::TRANSPARENT);
        h.event(Input::PasteImage(Arc::new(image)));
        h.run_steps(3);
        let picture = h.state().state.picture.clone().unwrap();
        assert_eq!(
            (picture.origin.to_string().as_str(), h.state().state.link.is_open(Panel::Data)),
            ("pasted picture", open)
        );
        assert!(picture.pixels.iter().all(|v| *v > 0.99));
    }
}

#[test]
fn a_drawing_becomes_the_picture() {
    let mut h = harness(opened(), |ui, s, f, out| draw_ui(ui, s, &mut f.data.draw, out));
    h.get_by_label("Use this drawing").click();
    h.run();
    let blank = h.state().state.picture.clone().unwrap();
    assert_eq!(blank.origin.to_string(), "drawing");
    assert!(blank.pixels.iter().all(|v| *v < -0.8), "black all over");
    h.get_by_label("Paint in blue").click();
    h.run();
    h.get_by_label("Canvas").click();
    h.run();
    h.get_by_label("Use this drawing").click();
    h.run();
    let pixels = h.state().state.picture.clone().unwrap().pixels;
    let centre = |channel: usize| pixels[channel * 48 * 48 + 24 * 48 + 24];
    // Blue is (50, 80, 220).
    assert!((centre(0) + 0.608).abs() < 0.01 && (centre(2) - 0.725).abs() < 0.01, "{} {}", centre(0), centre(2));
    h.get_by_label("Clear").click();
    h.run();
    h.get_by_label("Use this drawing").click();
    h.run();
    assert_eq!(h.state().state.picture.clone().unwrap().pixels, blank.pixels);
}

#[test]
fn the_keyboard_can_draw() {
    let mut h = harness(opened(), |ui, s, f, out| draw_ui(ui, s, &mut f.data.draw, out));
    h.get_by_label("Paint in white").click();
    h.run();
    h.get_by_label("Canvas").focus();
    h.run();
    for _ in 0..10 {
        h.key_press(Key::ArrowRight);
        h.run();
    }
    h.key_press(Key::Space);
    h.run();
    h.get_by_label("Use this drawing").click();
    h.run();
    let pixels = h.state().state.picture.clone().unwrap().pixels;
    let at = |column: usize| pixels[24 * 48 + column];
    assert!(at(34) > 0.8 && at(24) < -0.8, "{} {}", at(34), at(24));
}
