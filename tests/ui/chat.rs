//! The model from files: opening, plan, loading, the conversation, with events of a made-up session.

use std::path::{Path, PathBuf};

use eframe::egui::{Context, Key};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use hive::app::AppState;
use hive::app::actions::Request;
use hive::app::chat::Doing;
use hive::app::files::{Files, Purpose};
use hive::app::panels::chat::{chat_ui, switch_ui};
use hive::app::panels::failure::failure_ui;
use hive::app::shell::layout_ui;
use hive::app::{Control, Origin};
use hive::data::image::Preprocess;
use hive::engine::answers::assistant::End;
use hive::engine::{
    ChatAnswer, ChatCommand, ChatEvent, ChatModel, ChatPlans, ChatQuestion, Command, Event, Fault, FaultKind, Format,
    Formats, MemoryPart, Plan, Progress, Wiring,
};
use hive::platform::{Blob, read_file};

use super::common::{Bench, harness, opened, pixels};

fn plan(format: Format, mib: u64) -> Plan {
    let part = |name, parameters, file: u64, gpu| MemoryPart { name, parameters, file: file << 20, gpu };
    Plan {
        formats: Formats::of(format),
        weights: vec![
            part("language model", 106_000_000, 203, (mib - 30) << 20),
            part("embedding and head", 28_000_000, 54, 10 << 20),
        ],
        cache: 12 << 20,
        work: 8 << 20,
        host: 48 << 20,
    }
}

fn model(sees: Option<Preprocess>) -> ChatModel {
    let sizes = [(Format::F32, 600), (Format::F16, 300), (Format::Int8, 180), (Format::Int4, 120)];
    ChatModel {
        name: "smollm2".into(),
        kind: if sees.is_some() { Wiring::Linked } else { Wiring::Text },
        sees: sees.map(Into::into),
        side: 5,
        square_teraflops: 0.5,
        extra: vec!["lm_head.bias".into()],
        asked: String::new(),
        longest: 8192,
        plans: ChatPlans { room: 1024, plans: sizes.map(|(f, mib)| plan(f, mib)).into() },
    }
}

fn told(bench: &mut Bench, event: ChatEvent) {
    bench.tell(Event::Chat(event));
}

fn empty() -> Bench {
    let mut bench = opened();
    bench.state.chat.shown = true;
    bench
}

fn planned() -> Bench {
    let mut bench = empty();
    told(&mut bench, ChatEvent::Opened(Box::new(model(None))));
    bench
}

fn ready() -> Bench {
    let mut bench = planned();
    told(&mut bench, ChatEvent::Ready { format: Format::Int8, room: 1024, secs: 2.5 });
    bench
}

fn seeing() -> Bench {
    let mut bench = empty();
    told(&mut bench, ChatEvent::Opened(Box::new(model(Some(Preprocess::new(20))))));
    told(&mut bench, ChatEvent::Ready { format: Format::F16, room: 1024, secs: 2.5 });
    bench
}

fn shown(bench: Bench) -> Harness<'static, Bench> {
    let mut harness = harness(bench, |ui, s, f, out| {
        failure_ui(ui, s, &mut f.failure, out);
        switch_ui(ui, s, out);
        chat_ui(ui, s, &mut f.chat, out);
    });
    harness.run_steps(3);
    harness
}

fn typed(harness: &mut Harness<'static, Bench>, text: &str) {
    harness.get_by_label("Message").focus();
    harness.run_steps(2);
    harness.get_by_label("Message").type_text(text);
    harness.run_steps(2);
}

fn asked(text: &str) -> Harness<'static, Bench> {
    let mut harness = shown(ready());
    typed(&mut harness, text);
    harness.get_by_label("Send").click();
    harness.run_steps(3);
    harness
}

/// The last thing that was to be answered.
fn last(bench: &Bench) -> &ChatQuestion {
    match bench.out.last() {
        Some(Command::Chat(ChatCommand::Ask(question))) => question,
        other => panic!("{other:?}"),
    }
}

fn said(id: u64, text: &str, end: End) -> ChatEvent {
    let said = ChatAnswer { id, text: text.into(), end, prompt: 31, tokens: 8, first_secs: 0.25, rate: 12.5 };
    ChatEvent::Answered(Box::new(said))
}

fn fault(what: &str) -> ChatEvent {
    let (what, remedy, detail) = (what.into(), "Do this.".into(), String::new());
    ChatEvent::Failed(Fault { kind: FaultKind::Model, what, remedy, detail })
}

#[test]
fn the_switch_leads_there_and_a_link_can_hide_it() {
    let mut harness = harness(opened(), layout_ui);
    harness.run_steps(3);
    harness.get_by_label("Ask about the picture");
    harness.get_by_label("Model from files").click();
    harness.run_steps(3);
    harness.get_by_label("Open a model…");
    assert!(harness.query_by_label("Ask about the picture").is_none());
    harness.get_by_label("Model in training").click();
    harness.run_steps(3);
    harness.get_by_label("Ask about the picture");
    harness.get_by_label("Model from files").click();
    harness.state_mut().state.link.hide.push(Control::Chat);
    harness.run_steps(3);
    harness.get_by_label("Ask about the picture");
    assert!(harness.query_by_label("Model from files").is_none());
}

#[test]
fn opening_asks_the_shell_for_a_dialog_and_files_go_to_the_session() {
    let mut harness = shown(empty());
    harness.get_by_label_contains("Models as Hugging Face publishes them");
    harness.get_by_label("Open a model…").click();
    harness.run_steps(2);
    assert_eq!(harness.state().asked, [Request::PickModel]);
    let bench = harness.state_mut();
    bench.state.chat.shown = false;
    let blobs = vec![Blob::memory("config.json", *b"{}")];
    bench.out.push(bench.state.open_model("smollm2".into(), blobs));
    assert!(bench.state.chat.shown, "dropped files show their side");
    let [Command::Chat(ChatCommand::Open { name, blobs })] = &bench.out[..] else { panic!("{:?}", bench.out) };
    assert_eq!((name.as_str(), blobs.len()), ("smollm2", 1));
    harness.run_steps(2);
    harness.get_by_label("reading headers and tokenizer");
    told(harness.state_mut(), fault("Nothing of that can be used."));
    harness.run_steps(2);
    harness.get_by_label("Nothing of that can be used.");
    assert!(harness.query_by_label("reading headers and tokenizer").is_none());
}

#[test]
fn the_plan_is_a_table_and_the_chosen_format_is_loaded() {
    let mut harness = shown(planned());
    for text in ["smollm2", "A language model: text only.", "f32", "f16", "int8", "int4"] {
        harness.get_by_label(text);
    }
    for text in ["On disk 257 MiB", "600 MiB", "180 MiB", "1 tensor of the files is not used: lm_head.bias"] {
        harness.get_by_label_contains(text);
    }
    assert!(harness.query_by_label("✔ fits").is_none(), "nobody knows what fits");
    harness.get_by_label("Load in f16");
    harness.get_by_label("int8").click();
    harness.run_steps(2);
    harness.get_by_label("What int8 is made of").click();
    harness.run();
    for text in ["language model", "106.0 M", "embedding and head", "cache for 1024 tokens", "working memory"] {
        harness.get_by_label(text);
    }
    harness.get_by_label("Load in int8").click();
    harness.run_steps(2);
    let out = &harness.state().out;
    let Some(Command::Chat(ChatCommand::Load { format, room, memory })) = out.last() else { panic!("{out:?}") };
    assert_eq!((*format, *room, *memory), (Format::Int8, 1024, None));
}

#[test]
fn what_fits_is_marked_and_taken() {
    let mut bench = planned();
    bench.forms.chat.load.memory = 200;
    let mut harness = shown(bench);
    assert_eq!(harness.query_all_by_label("✔ fits").count(), 2);
    assert_eq!(harness.query_all_by_label("does not fit").count(), 2);
    harness.get_by_label("Load in int8").click();
    harness.run_steps(2);
    let out = &harness.state().out;
    let Some(Command::Chat(ChatCommand::Load { memory, .. })) = out.last() else { panic!("{out:?}") };
    assert_eq!(*memory, Some(200 << 20));
}

#[test]
fn another_room_is_planned_again() {
    let mut bench = planned();
    bench.forms.chat.load.room = Some(2048);
    let mut harness = shown(bench);
    let out = &harness.state().out;
    assert!(matches!(out[..], [Command::Chat(ChatCommand::Plan { room: 2048 })]), "{out:?}");
    let plans = ChatPlans { room: 2048, ..model(None).plans };
    told(harness.state_mut(), ChatEvent::Planned(Box::new(plans)));
    harness.run_steps(2);
    harness.get_by_label("Load in f16").click();
    harness.run_steps(2);
    let Some(Command::Chat(ChatCommand::Load { room, .. })) = harness.state().out.last() else { panic!() };
    assert_eq!(*room, 2048);
}

#[test]
fn loading_shows_how_far_it_is_and_can_be_stopped() {
    let mut harness = shown(planned());
    harness.get_by_label("Load in f16").click();
    harness.run_steps(2);
    told(harness.state_mut(), ChatEvent::Loading(Progress { done: 64_000_000, total: 269_000_000 }));
    harness.run_steps(2);
    harness.get_by_label("Loading 64 of 269 MB");
    assert!(harness.query_by_label("Load in f16").is_none());
    harness.get_by_label("Stop").click();
    harness.run_steps(2);
    assert!(matches!(harness.state().out.last(), Some(Command::Chat(ChatCommand::Stop))));
    told(harness.state_mut(), ChatEvent::Unloaded);
    harness.run_steps(2);
    harness.get_by_label("Load in f16");
}

#[test]
fn an_answer_comes_in_pieces_with_its_figures() {
    let mut harness = asked("What is the capital of France?");
    let question = last(harness.state()).clone();
    assert_eq!(question.messages.len(), 1);
    assert_eq!(
        (question.messages[0].role.as_str(), question.messages[0].content.as_str()),
        ("user", "What is the capital of France?")
    );
    assert_eq!(question.options.limit, 256);
    assert!(question.pictures.is_empty());
    harness.get_by_label("reading the conversation");
    for piece in ["The capital", " of France"] {
        told(harness.state_mut(), ChatEvent::Text { id: question.id, text: piece.into() });
    }
    told(harness.state_mut(), ChatEvent::Text { id: question.id + 9, text: "of another".into() });
    harness.run_steps(2);
    harness.get_by_label("The capital of France");
    told(harness.state_mut(), said(question.id, "The capital of France is Paris.", End::EndToken));
    harness.run_steps(2);
    harness.get_by_label("The capital of France is Paris.");
    harness.get_by_label("8 tokens; first after 0.25 s, then 12.5 a second");
    harness.get_by_label("12.5 tokens a second");
    assert_eq!(harness.state().state.announcement, "Answer: The capital of France is Paris.");

    // The conversation goes on: what was said is sent along.
    typed(&mut harness, "And of Spain?");
    harness.key_press(Key::Enter);
    harness.run_steps(3);
    let question = last(harness.state());
    let all: Vec<_> = question.messages.iter().map(|m| (m.role.as_str(), m.content.as_str())).collect();
    assert_eq!(
        all,
        [
            ("user", "What is the capital of France?"),
            ("assistant", "The capital of France is Paris."),
            ("user", "And of Spain?"),
        ]
    );
    assert_eq!(harness.state().forms.chat.message, "", "Enter leaves no empty line");
}

#[test]
fn an_answer_can_be_stopped_and_says_why_it_ended() {
    let mut harness = asked("Tell me a story");
    let id = last(harness.state()).id;
    harness.get_by_label("Stop").click();
    harness.run_steps(2);
    assert!(matches!(harness.state().out.last(), Some(Command::Chat(ChatCommand::Stop))));
    for (end, text) in [
        (End::Cancelled, "8 tokens, stopped; first"),
        (End::Limit, "8 tokens, cut at the limit of 256; first"),
        (End::Full, "8 tokens, cut because the room of 1024 is full"),
    ] {
        told(harness.state_mut(), said(id, "Once", end));
        harness.run_steps(2);
        harness.get_by_label_contains(text);
    }
    assert!(harness.query_by_label("Stop").is_none());
}

#[test]
fn a_new_conversation_forgets_and_hears_nothing_of_the_old_one() {
    let mut harness = asked("Hello");
    let id = last(harness.state()).id;
    harness.get_by_label("New conversation").click();
    harness.run_steps(2);
    assert!(matches!(harness.state().out.last(), Some(Command::Chat(ChatCommand::Stop))));
    told(harness.state_mut(), ChatEvent::Text { id, text: "late".into() });
    told(harness.state_mut(), said(id, "late", End::Cancelled));
    harness.run_steps(2);
    assert!(harness.query_by_label("late").is_none());
    typed(&mut harness, "Again");
    harness.get_by_label("Send").click();
    harness.run_steps(2);
    let question = last(harness.state());
    assert_eq!((question.messages.len(), question.messages[0].content.as_str()), (1, "Again"));
    assert!(question.id > id);
}

#[test]
fn settings_go_along() {
    let mut bench = ready();
    bench.forms.chat.sampling.system = " You are a pirate. ".into();
    let mut harness = shown(bench);
    harness.get_by_label("How it chooses its words").click();
    harness.run();
    for name in ["Temperature", "Top-k", "Top-p", "Min-p", "Repetition penalty", "Seed", "Limit", "System message"] {
        assert!(harness.query_all_by_label(name).count() >= 1, "{name}");
    }
    harness.state_mut().forms.chat.sampling.settings.temperature = 0.7;
    harness.state_mut().forms.chat.sampling.limit = 20;
    typed(&mut harness, "Who are you?");
    harness.get_by_label("Send").click();
    harness.run_steps(2);
    let question = last(harness.state());
    assert_eq!(
        (question.messages[0].role.as_str(), question.messages[0].content.as_str()),
        ("system", "You are a pirate.")
    );
    assert_eq!((question.options.limit, question.options.sampling.temperature), (20, 0.7));
    let mut bench = ready();
    bench.state.link.hide.push(Control::Sampling);
    assert!(shown(bench).query_by_label("How it chooses its words").is_none());
}

#[test]
fn a_model_that_sees_is_asked_about_a_picture() {
    let mut harness = shown(seeing());
    harness.get_by_label_contains("This model talks about a picture");
    typed(&mut harness, "What is it?");
    harness.get_by_label("Send").click();
    harness.run_steps(2);
    assert!(harness.state().out.is_empty(), "there is no picture");
    harness.get_by_label("Choose a picture…").click();
    harness.run_steps(2);
    assert_eq!(harness.state().asked, [Request::Pick(Purpose::Picture)]);
    let dog = read_file(Path::new("tests/web/dog.png")).unwrap();
    harness.state_mut().take_picture("dog.png", &dog);
    harness.run_steps(2);
    harness.get_by_label("dog.png");
    harness.get_by_label("Send").click();
    harness.run_steps(2);
    let question = last(harness.state());
    assert_eq!(
        (question.pictures[0].pixels.len(), question.messages[0].content.as_str()),
        (3 * 20 * 20, "<image>\nWhat is it?")
    );
    harness.state_mut().take_picture("notes.txt", b"no picture");
    assert!(harness.state().state.faults.iter().any(|f| f.what.contains("notes.txt")));

    // The small picture of the data column, brought to size.
    let mut bench = seeing();
    bench.state.picture = Some(hive::app::Picture { origin: Origin::HeldOut(3), pixels: pixels(), right: None });
    let mut harness = shown(bench);
    harness.get_by_label("Use the selected picture").click();
    harness.run_steps(2);
    let photo = harness.state().state.chat.photos[0].clone();
    assert_eq!((photo.origin.to_string().as_str(), photo.whole.width * photo.whole.height), ("held-out 3", 48 * 48));
    assert_eq!(photo.whole.data[0], 140);
}

#[test]
fn a_failure_is_a_card_and_the_question_is_kept() {
    let mut harness = asked("A very long question");
    told(harness.state_mut(), fault("The prompt has 2000 tokens."));
    harness.run_steps(2);
    harness.get_by_label("The prompt has 2000 tokens.");
    harness.get_by_label("Do this.");
    assert!(harness.query_by_label("Try again").is_none(), "that would open a preset");
    assert_eq!(harness.state().forms.chat.message, "A very long question");
    assert!(harness.state().state.chat.turns.is_empty());
    // A lost device: it can be loaded again.
    told(harness.state_mut(), ChatEvent::Unloaded);
    told(harness.state_mut(), fault("The GPU device of the model from files was lost."));
    harness.run_steps(2);
    harness.get_by_label("Load in f16");
}

#[test]
fn a_failure_leaves_training_alone() {
    let mut bench = super::common::training(3);
    bench.state.asked.busy = true;
    told(&mut bench, fault("Too large."));
    assert!(bench.state.running() && bench.state.asked.busy);
    let state: &AppState = &bench.state;
    assert_eq!(state.faults.len(), 1);
}

#[test]
fn unloading_is_one_click() {
    let mut harness = shown(ready());
    harness.get_by_label("int8, room for 1024 tokens, loaded in 2.5 s");
    harness.get_by_label("Unload").click();
    harness.run_steps(2);
    assert!(matches!(harness.state().out[..], [Command::Chat(ChatCommand::Unload)]));
    told(harness.state_mut(), ChatEvent::Unloaded);
    harness.run_steps(2);
    harness.get_by_label("Load in f16");
}

/// A file that a window was given.
/// What comes of files that are dropped together: a model's name and number of files, or what the only file is for.
fn dropped(paths: &[&str]) -> Result<(String, usize), Purpose> {
    let files = Files::default();
    let list: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
    files.put_dropped(&list, &Context::default());
    for _ in 0..1000 {
        if let Some(model) = files.next_model() {
            return Ok((model.name, model.blobs.unwrap().len()));
        }
        if let Some(picked) = files.next() {
            assert!(picked.bytes.is_ok());
            return Err(picked.purpose);
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("nothing came of {paths:?}");
}

#[test]
fn a_folder_or_files_with_a_configuration_are_a_model_and_others_what_they_were() {
    let (config, weights) = ("tests/fixtures/llama/config.json", "tests/fixtures/llama/model.safetensors");
    assert_eq!(dropped(&["tests/fixtures/llama"]), Ok(("llama".into(), 3)));
    assert_eq!(dropped(&[weights, config]), Ok(("llama".into(), 2)));
    // Run files and checkpoints are safetensors too.
    assert_eq!(dropped(&[weights]), Err(Purpose::Run));
    assert_eq!(dropped(&["tests/web/dog.png"]), Err(Purpose::Picture));
}

#[test]
fn a_model_is_fetched_by_its_id_with_progress_and_can_be_stopped() {
    let mut harness = shown(empty());
    harness.get_by_label("Fetch").click();
    harness.run_steps(2);
    assert!(harness.state().asked.is_empty(), "nothing is named yet");
    harness.get_by_label("Hub id or address").focus();
    harness.run_steps(2);
    harness.get_by_label("Hub id or address").type_text("owner/name");
    harness.run_steps(2);
    harness.get_by_label("Fetch").click();
    harness.run_steps(2);
    assert_eq!(harness.state().asked, [Request::Fetch("owner/name".into())]);
    assert_eq!(harness.state().state.chat.doing, Doing::Fetching(Progress { done: 0, total: 0 }));
    harness.state_mut().state.chat.doing = Doing::Fetching(Progress { done: 30_000_000, total: 269_000_000 });
    harness.run_steps(2);
    assert!(harness.query_by_label("Fetching 30 of 269 MB").is_some());
    assert!(harness.query_by_label("Fetch").is_none(), "one at a time");
    harness.get_by_label("Stop").click();
    harness.run_steps(2);
    assert_eq!(harness.state().asked.last(), Some(&Request::StopFetch));
    // What its user should know of it.
    let state = &mut harness.state_mut().state;
    state.chat.doing = Doing::Nothing;
    state.chat.notes = vec!["the browser's storage is full".into()];
    harness.run_steps(2);
    assert!(harness.query_by_label_contains("storage is full").is_some());
    told(harness.state_mut(), ChatEvent::Opened(Box::new(model(None))));
    harness.run_steps(2);
    assert!(harness.query_by_label_contains("storage is full").is_some(), "it is of the model that was opened");
    assert!(harness.state().state.chat.shown);
}
