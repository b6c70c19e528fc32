//! Several pictures in a conversation with a model that cuts them into squares.

use std::path::Path;
use std::sync::Arc;

use eframe::egui::{Color32, ColorImage, Event as Input};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use hive::app::chat::{LIVE, Live};
use hive::app::panels::chat::chat_ui;
use hive::app::shell::layout_ui;
use hive::data::chat::Message;
use hive::data::image::Preprocess;
use hive::data::tiles::{Cut, Recipe};
use hive::engine::answers::assistant::{End, Looked};
use hive::engine::{
    ChatAnswer, ChatCommand, ChatEvent, ChatModel, ChatPlans, ChatQuestion, Command, Event, Fault, FaultKind, Format,
    Wiring,
};
use hive::platform::read_file;

use super::common::{Bench, harness, opened};

/// A model of the Idefics3 family: squares of 20 pixels, which become 5 x 5 rows each.
fn model() -> ChatModel {
    let cut = Cut::Rows { longest: 80, split: true };
    ChatModel {
        name: "smolvlm".into(),
        kind: Wiring::Flattened,
        sees: Some(Recipe { square: Preprocess::new(20), cut }),
        side: 5,
        square_teraflops: 0.5,
        extra: Vec::new(),
        asked: String::new(),
        longest: 8192,
        plans: ChatPlans { room: 1024, plans: Vec::new() },
    }
}

fn shown() -> Harness<'static, Bench> {
    let mut bench = opened();
    bench.state.chat.shown = true;
    bench.tell(Event::Chat(ChatEvent::Opened(Box::new(model()))));
    bench.tell(Event::Chat(ChatEvent::Ready { format: Format::F16, room: 1024, secs: 2.5 }));
    let mut harness = harness(bench, |ui, s, f, out| chat_ui(ui, s, &mut f.chat, out));
    harness.run_steps(3);
    harness
}

fn take(harness: &mut Harness<'static, Bench>, name: &str) {
    let dog = read_file(Path::new("tests/web/dog.png")).unwrap();
    harness.state_mut().take_picture(name, &dog);
    harness.run_steps(2);
}

fn answered(harness: &mut Harness<'static, Bench>) -> ChatQuestion {
    let question = match harness.state().out.last() {
        Some(Command::Chat(ChatCommand::Ask(question))) => (**question).clone(),
        other => panic!("{other:?}"),
    };
    let (id, text, end) = (question.id, "a dog".into(), End::EndToken);
    let said = ChatAnswer { id, text, end, prompt: 31, tokens: 8, first_secs: 0.25, rate: 12.5 };
    harness.state_mut().tell(Event::Chat(ChatEvent::Answered(Box::new(said))));
    harness.run_steps(2);
    question
}

fn send(harness: &mut Harness<'static, Bench>, text: &str) -> ChatQuestion {
    harness.get_by_label("Message").focus();
    harness.run_steps(2);
    harness.get_by_label("Message").type_text(text);
    harness.run_steps(2);
    harness.get_by_label("Send").click();
    harness.run_steps(2);
    answered(harness)
}

fn squares(question: &ChatQuestion) -> Vec<usize> {
    question.pictures.iter().map(|p| p.squares).collect()
}

#[test]
fn pictures_come_in_any_turn_and_their_cost_is_said_first() {
    let mut harness = shown();
    // Without a picture it can be asked, too.
    let first = send(&mut harness, "Are you there?");
    assert_eq!((squares(&first), first.messages), (vec![], vec![Message::new("user", "Are you there?")]));
    take(&mut harness, "dog.png");
    harness.get_by_label("dog.png becomes 17 squares and 425 tokens: 8.50 teraflop for the tower");
    harness.get_by_label("What the model sees of it").click();
    harness.run_steps(3);
    harness.get_by_label("17 squares of dog.png");
    let about = send(&mut harness, "What is it?");
    assert_eq!(squares(&about), [17]);
    // Another one in a later turn; a third is taken back.
    take(&mut harness, "cat.png");
    take(&mut harness, "hat.png");
    assert_eq!(harness.query_all_by_label("Take back").count(), 2);
    harness.query_all_by_label("Take back").nth(1).unwrap().click();
    harness.run_steps(2);
    let both = send(&mut harness, "And here?");
    assert_eq!(squares(&both), [17, 17]);
    let said: Vec<&str> = both.messages.iter().map(|m| m.content.as_str()).collect();
    assert_eq!(said, ["Are you there?", "a dog", "<image>\nWhat is it?", "a dog", "<image>\nAnd here?"]);
    assert!(harness.query_by_label("Take back").is_none(), "what was asked about stays");
    // One square each.
    harness.get_by_label("One square a picture").click();
    harness.run_steps(2);
    harness.get_by_label("cat.png becomes 1 square and 25 tokens: 0.50 teraflop for the tower");
    assert_eq!(squares(&send(&mut harness, "Again?")), [1, 1]);
    // Where it looked, over both pictures.
    harness.get_by_label("Where it looked").click();
    harness.run_steps(2);
    assert!(matches!(harness.state().out.last(), Some(Command::Chat(ChatCommand::Look))));
    let mut shares = vec![0.0; 2 * 3 * 50];
    // The second head of the first layer looks at the last row of the second picture alone.
    shares[50 + 49] = 0.5;
    let looked = Looked { layers: 2, heads: 3, rows: 50, shares };
    harness.state_mut().tell(Event::Chat(ChatEvent::Looked(Some(Arc::new(looked)))));
    harness.run_steps(2);
    harness.get_by_label("dog.png: 0.0 % of the attention, most at the bottom right");
    harness.get_by_label("cat.png: 8.3 % of the attention, most at the bottom right");
    // A new conversation keeps the picture that was looked at last.
    harness.get_by_label("New conversation").click();
    harness.run_steps(2);
    let new = send(&mut harness, "What is it?");
    assert_eq!((squares(&new), new.messages.len()), (vec![1], 1));
}

#[test]
fn a_pasted_picture_is_one_of_the_conversation() {
    let mut bench = opened();
    bench.state.chat.shown = true;
    bench.tell(Event::Chat(ChatEvent::Opened(Box::new(model()))));
    bench.tell(Event::Chat(ChatEvent::Ready { format: Format::F16, room: 1024, secs: 2.5 }));
    let mut harness = harness(bench, layout_ui);
    harness.run_steps(3);
    harness.get_by_label("Message").focus();
    harness.run_steps(2);
    let before = harness.state().state.picture.clone().map(|p| p.origin);
    harness.event(Input::PasteImage(Arc::new(ColorImage::filled([40, 20], Color32::BLUE))));
    harness.run_steps(3);
    harness.get_by_label("pasted picture becomes 9 squares and 225 tokens: 4.50 teraflop for the tower");
    assert_eq!(squares(&send(&mut harness, "What is it?")), [9]);
    assert_eq!(harness.state().state.picture.clone().map(|p| p.origin), before, "the example stays as it is");
}

#[test]
fn a_panel_that_grows_is_in_its_place_at_once() {
    let mut bench = opened();
    bench.state.chat.shown = true;
    bench.tell(Event::Chat(ChatEvent::Opened(Box::new(model()))));
    let mut harness = harness(bench, |ui, s, f, out| chat_ui(ui, s, &mut f.chat, out));
    harness.run();
    harness.state_mut().tell(Event::Chat(ChatEvent::Ready { format: Format::F16, room: 1024, secs: 2.5 }));
    // The frame that the session's news ask for may be the only one for long.
    harness.step();
    let place = harness.get_by_label("Send").rect();
    assert!(place.max.y <= 800.0, "{place:?}");
    harness.run_steps(3);
    assert_eq!(harness.get_by_label("Send").rect(), place);
}

#[test]
fn what_the_camera_shows_is_asked_about_again_and_again() {
    let mut harness = shown();
    harness.state_mut().state.chat.live = Some(Live { question: "What now?".into(), waiting: false });
    for _ in 0..2 {
        assert!(harness.state_mut().state.chat.wants_frame());
        assert!(!harness.state_mut().state.chat.wants_frame(), "one picture at a time");
        // What else comes is none of the camera's.
        let before = harness.state().out.len();
        take(&mut harness, "dog.png");
        assert_eq!(harness.state().out.len(), before);
        take(&mut harness, LIVE);
        assert!(!harness.state_mut().state.chat.wants_frame(), "it has not answered yet");
        let question = answered(&mut harness);
        assert_eq!((question.messages, question.pictures.len()), (vec![Message::about("What now?", 1)], 1));
    }
    // What fails ends it.
    let fault = Fault::new(FaultKind::Model, "Lost.".to_owned(), "Load it again.");
    harness.state_mut().tell(Event::Chat(ChatEvent::Failed(fault)));
    assert!(!harness.state_mut().state.chat.wants_frame());
}
