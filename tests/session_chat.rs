//! The session's model from files, driven by commands as window and page drive it.

use std::sync::Arc;

use crate::common::repository;
use hive::data::chat::Message;
use hive::data::rng::Rng;
use hive::data::tiles::Picture;
use hive::engine::answers::assistant::{End, Options};
use hive::engine::{
    ChatAnswer, ChatCommand, ChatEvent, ChatModel, ChatQuestion, Command, Event, Fault, FaultKind, Format, GpuOptions,
    Handle, Open, Settings, Steps, Wiring, assets, worker,
};
use hive::platform::{Blob, block_on, read_file};
use serde_json::{Value, json};

/// A piece per character: as many as the fixtures have rows.
fn tokenizer() -> Value {
    let letters = (' '..='z').map(String::from);
    let pieces = ["<unk>", "<s>", "</s>"].map(str::to_owned).into_iter().chain(letters);
    let vocab: serde_json::Map<String, Value> = pieces.enumerate().map(|(i, p)| (p, json!(i))).collect();
    assert!(vocab.len() <= 97);
    let special = |id: u32, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    };
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")],
        "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": {"type": "Fuse"},
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": []}
    })
}

const TEMPLATE: &str = "{% for m in messages %}{{ m.role }}: {{ m.content }}. {% endfor %}";

/// The files of a small published-looking model.
fn files(fixture: &str) -> Vec<Blob> {
    let read = |name: &str| read_file(&repository(&format!("tests/fixtures/{fixture}/{name}"))).unwrap();
    vec![
        Blob::memory("config.json", read("config.json")),
        Blob::memory("model.safetensors", read("model.safetensors")),
        Blob::memory("tokenizer.json", tokenizer().to_string().into_bytes()),
        Blob::memory("chat_template.jinja", TEMPLATE.as_bytes().to_vec()),
    ]
}

/// The same with one file replaced, or without it.
fn with(mut blobs: Vec<Blob>, name: &str, bytes: Option<Vec<u8>>) -> Vec<Blob> {
    blobs.retain(|b| b.name() != name);
    blobs.extend(bytes.map(|bytes| Blob::memory(name, bytes)));
    blobs
}

struct Driver {
    handle: Handle,
}

impl Driver {
    /// None where there is no GPU and none is required.
    fn start() -> Option<Self> {
        drop(crate::common::gpu()?);
        Some(Self { handle: worker::start(GpuOptions::default(), Arc::new(|| ())) })
    }

    fn tell(&self, command: ChatCommand) {
        self.handle.send(Command::Chat(command));
    }

    fn event(&self) -> Event {
        block_on(self.handle.wait()).expect("the session is gone")
    }

    /// Events up to the one that `found` accepts; that one's value. Other failures end the test.
    fn until<T>(&self, mut found: impl FnMut(&Event) -> Option<T>) -> T {
        loop {
            let event = self.event();
            if let Some(value) = found(&event) {
                return value;
            }
            if let Event::Fault(fault) | Event::Chat(ChatEvent::Failed(fault)) = event {
                panic!("{fault:?}");
            }
        }
    }

    fn fault(&self) -> Fault {
        self.until(|e| if let Event::Chat(ChatEvent::Failed(f)) = e { Some(f.clone()) } else { None })
    }

    fn open(&self, blobs: Vec<Blob>) -> ChatModel {
        self.tell(ChatCommand::Open { name: "small".into(), blobs });
        self.until(|e| if let Event::Chat(ChatEvent::Opened(m)) = e { Some((**m).clone()) } else { None })
    }

    /// Loads it and gives the steps of progress.
    fn load(&self, format: Format, room: usize) -> Vec<(u64, u64)> {
        self.tell(ChatCommand::Load { format, room, memory: None });
        let mut steps = Vec::new();
        let ready = self.until(|e| match e {
            Event::Chat(ChatEvent::Loading(p)) => {
                steps.push((p.done, p.total));
                None
            }
            Event::Chat(ChatEvent::Ready { format, room, .. }) => Some((*format, *room)),
            _ => None,
        });
        assert_eq!(ready, (format, room));
        steps
    }

    fn say(&self, question: ChatQuestion) {
        self.tell(ChatCommand::Ask(Box::new(question)));
    }

    /// The pieces of an answer, and what came at its end.
    fn answer(&self, question: ChatQuestion) -> (Vec<String>, ChatAnswer) {
        let id = question.id;
        self.say(question);
        let mut pieces = Vec::new();
        let said = self.until(|e| match e {
            Event::Chat(ChatEvent::Text { id: of, text }) => {
                assert_eq!(*of, id);
                pieces.push(text.clone());
                None
            }
            Event::Chat(ChatEvent::Answered(said)) => Some((**said).clone()),
            _ => None,
        });
        assert_eq!(said.id, id);
        (pieces, said)
    }
}

fn question(id: u64, text: &str, limit: usize) -> ChatQuestion {
    let messages = vec![Message { role: "user".into(), content: text.into() }];
    ChatQuestion { id, messages, pictures: Vec::new(), options: Options { limit, ..Options::default() } }
}

#[test]
fn a_model_is_opened_planned_loaded_and_talks() {
    let Some(d) = Driver::start() else { return };
    let model = d.open(files("llama"));
    assert_eq!((model.name.as_str(), model.kind, model.sees.is_none()), ("small", Wiring::Text, true));
    assert!(model.extra.is_empty());
    let bytes: Vec<u64> = model.plans.plans.iter().map(|p| p.weights.iter().map(|w| w.gpu).sum()).collect();
    assert_eq!(model.plans.plans.len(), 4);
    assert!(bytes.windows(2).all(|w| w[0] > w[1]), "a smaller format takes less: {bytes:?}");
    assert_eq!(model.plans.of(Format::Int8).unwrap().formats.layer, Format::Int8);
    let f16 = model.plans.of(Format::F16).unwrap().gpu();
    assert_eq!((model.plans.best(u64::MAX), model.plans.best(f16)), (Some(Format::F32), Some(Format::F16)));
    assert_eq!(model.plans.best(1000), None);

    d.tell(ChatCommand::Plan { room: 2 * model.plans.room });
    let more = d.until(|e| if let Event::Chat(ChatEvent::Planned(p)) = e { Some((**p).clone()) } else { None });
    assert_eq!(more.room, 2 * model.plans.room);
    assert!(more.plans[0].cache > model.plans.plans[0].cache);

    let steps = d.load(Format::F16, 64);
    let total = model.plans.plans[0].file();
    assert!(steps.len() > 3 && steps.windows(2).all(|w| w[0].0 < w[1].0), "{steps:?}");
    assert!(steps.iter().all(|s| s.1 == total) && steps.last().unwrap().0 == total, "{steps:?} of {total}");

    let (pieces, said) = d.answer(question(1, "Hi", 12));
    assert!(pieces.len() > 1, "it came at once: {pieces:?}");
    assert_eq!(pieces.concat(), said.text);
    assert_eq!((said.end, said.tokens, said.prompt), (End::Limit, 12, "user: Hi. ".len()));
    assert!(said.first_secs > 0.0 && said.rate > 0.0);
    // Greedy: the same again, and other settings say something else.
    assert_eq!(d.answer(question(2, "Hi", 12)).1.text, said.text);
    let mut warm = question(3, "Hi", 12);
    warm.options.sampling = Settings { temperature: 2.0, seed: 5, ..Settings::default() };
    assert_ne!(d.answer(warm).1.text, said.text);
    // No more than the room.
    let full = d.answer(question(4, "Hi", 1000)).1;
    assert_eq!((full.end, full.prompt + full.tokens), (End::Full, 64));

    d.tell(ChatCommand::Unload);
    d.until(|e| matches!(e, Event::Chat(ChatEvent::Unloaded)).then_some(()));
    d.say(question(5, "Hi", 3));
    assert!(d.fault().what.contains("not loaded"));
    d.load(Format::Int4, 64);
    assert_eq!(d.answer(question(6, "Hi", 3)).1.tokens, 3);
}

#[test]
fn an_answer_ends_within_a_submission_and_so_does_loading() {
    let Some(d) = Driver::start() else { return };
    d.open(files("llama"));
    d.load(Format::F32, 2000);
    d.say(question(1, "Hi", 1900));
    d.until(|e| matches!(e, Event::Chat(ChatEvent::Text { .. })).then_some(()));
    d.tell(ChatCommand::Stop);
    let said = d.until(|e| if let Event::Chat(ChatEvent::Answered(s)) = e { Some((**s).clone()) } else { None });
    assert_eq!(said.end, End::Cancelled);
    assert!(said.tokens < 1000, "{} tokens", said.tokens);
    // It goes on from there.
    assert_eq!(d.answer(question(2, "Hi", 5)).1.tokens, 5);

    d.tell(ChatCommand::Load { format: Format::F32, room: 64, memory: None });
    d.tell(ChatCommand::Stop);
    let ready = d.until(|e| match e {
        Event::Chat(ChatEvent::Unloaded) => Some(false),
        Event::Chat(ChatEvent::Ready { .. }) => Some(true),
        _ => None,
    });
    assert!(!ready, "it was loaded all the same");
    d.load(Format::F32, 64);
}

#[test]
fn a_model_that_sees_wants_a_picture_of_its_size() {
    let Some(d) = Driver::start() else { return };
    let model = d.open(files("hive"));
    let recipe = model.sees.unwrap();
    assert_eq!((model.kind, recipe.square.image_size), (Wiring::Linked, 20));
    d.load(Format::F32, 96);
    let about = |id, shade: f32| ChatQuestion {
        pictures: vec![Arc::new(Picture::of(
            &(0..3 * 20 * 20).map(|i| shade * (i as f32 * 0.1).sin()).collect::<Vec<_>>(),
        ))],
        ..question(id, "<image> what is it", 8)
    };
    d.say(ChatQuestion { pictures: Vec::new(), ..about(1, 1.0) });
    let fault = d.fault();
    assert!(fault.what.contains("talks about a picture"), "{fault:?}");
    let first = d.answer(about(2, 1.0)).1;
    assert_eq!(first.tokens, 8);
    assert_eq!(d.answer(about(3, 1.0)).1.text, first.text);
    d.open(files("llama"));
    d.load(Format::F32, 96);
    d.say(about(4, 1.0));
    assert!(d.fault().what.contains("takes no pictures"));
}

#[test]
fn what_cannot_be_answered_or_does_not_fit_gets_a_sentence() {
    let Some(d) = Driver::start() else { return };
    d.tell(ChatCommand::Load { format: Format::F16, room: 64, memory: None });
    assert_eq!(d.fault().what, "No model is open.");
    let model = d.open(files("llama"));
    let int8 = model.plans.of(Format::Int8).unwrap().gpu();
    d.tell(ChatCommand::Load { format: Format::F32, room: model.plans.room, memory: Some(int8) });
    let fault = d.fault();
    assert_eq!(fault.kind, FaultKind::Model);
    assert!(fault.what.contains("in f32 needs") && fault.what.contains("In int8 it takes"), "{fault:?}");
    d.load(Format::F32, 32);
    d.say(question(1, "a question that is longer than the room", 5));
    let fault = d.fault();
    assert!(fault.what.contains("there is room for 32"), "{fault:?}");
    let mut odd = question(2, "Hi", 5);
    odd.options.sampling.top_p = 7.0;
    d.say(odd);
    assert!(d.fault().what.contains("not 7"));
    // Nothing of that closed it.
    assert_eq!(d.answer(question(3, "Hi", 5)).1.tokens, 5);
}

#[test]
fn damaged_files_get_a_sentence_and_the_session_goes_on() {
    let Some(d) = Driver::start() else { return };
    let weights = read_file(&repository("tests/fixtures/llama/model.safetensors")).unwrap();
    let cases = [
        ("config.json", with(files("llama"), "config.json", None)),
        ("config.json", with(files("llama"), "config.json", Some(b"{".to_vec()))),
        ("tokenizer.json", with(files("llama"), "tokenizer.json", Some(b"{}".to_vec()))),
        ("tokenizer.json", with(files("llama"), "tokenizer.json", None)),
        ("template", with(files("llama"), "chat_template.jinja", Some(b"{% for".to_vec()))),
        ("model.safetensors", with(files("llama"), "model.safetensors", Some(weights[..1000].to_vec()))),
        ("safetensors", with(files("llama"), "model.safetensors", None)),
        ("config.json", [files("llama"), files("hive")].concat()),
    ];
    for (word, blobs) in cases {
        d.tell(ChatCommand::Open { name: "broken".into(), blobs });
        let fault = d.fault();
        assert_eq!(fault.kind, FaultKind::File);
        assert!(fault.what.contains(word) && fault.what.ends_with('.'), "{word}: {fault:?}");
    }
    // A file that was whole when its header was read.
    let mut rng = Rng::new(1, 1);
    for _ in 0..20 {
        let mut bytes = weights.clone();
        for _ in 0..4 {
            let at = rng.below(4000);
            bytes[at] = rng.below(256) as u8;
        }
        d.tell(ChatCommand::Open {
            name: "changed".into(),
            blobs: with(files("llama"), "model.safetensors", Some(bytes)),
        });
        d.until(|e| match e {
            Event::Chat(ChatEvent::Opened(_) | ChatEvent::Failed(_)) => Some(()),
            _ => None,
        });
    }
    d.open(files("llama"));
    d.load(Format::F16, 64);
    assert_eq!(d.answer(question(1, "Hi", 3)).1.tokens, 3);
}

#[test]
fn a_lost_device_is_told_and_the_model_can_be_loaded_again() {
    let Some(d) = Driver::start() else { return };
    d.open(files("llama"));
    d.load(Format::F16, 64);
    let before = d.answer(question(1, "Hi", 6)).1.text;
    d.handle.send(Command::LoseDevice);
    let mut unloaded = false;
    let fault = loop {
        match d.event() {
            Event::Chat(ChatEvent::Unloaded) => unloaded = true,
            Event::Chat(ChatEvent::Failed(fault)) => break fault,
            // Training's own device is replaced.
            Event::Fault(fault) => assert_eq!(fault.kind, FaultKind::DeviceLost),
            _ => {}
        }
    };
    assert!(unloaded && fault.what.contains("was lost") && fault.remedy.contains("Load the model again"), "{fault:?}");
    d.load(Format::F16, 64);
    assert_eq!(d.answer(question(2, "Hi", 6)).1.text, before);
}

#[test]
fn training_pauses_for_loading_and_goes_on_where_it_was() {
    let Some(d) = Driver::start() else { return };
    let preset = assets::preset("tiny").unwrap();
    d.handle.send(Command::Open(Open { preset: Box::new(preset.clone()), beside: None, trained: false }));
    d.handle.send(Command::Train(Steps::Stage));
    let last = d.until(|e| if let Event::Step(s) = e { Some(s.update) } else { None });
    d.tell(ChatCommand::Open { name: "small".into(), blobs: files("llama") });
    d.tell(ChatCommand::Load { format: Format::F16, room: 64, memory: None });
    let (mut paused, mut done, mut steps) = (false, false, vec![last]);
    d.until(|e| match e {
        Event::Running(None) => {
            paused = true;
            None
        }
        Event::Step(s) => {
            assert!(!paused, "a step after the pause");
            steps.push(s.update);
            None
        }
        Event::StageDone(_) => {
            done = true;
            None
        }
        Event::Chat(ChatEvent::Ready { .. }) => Some(()),
        _ => None,
    });
    assert!(paused);
    // A model that does not fit changes nothing.
    d.tell(ChatCommand::Load { format: Format::F32, room: 64, memory: Some(1) });
    assert_eq!(d.fault().kind, FaultKind::Model);
    if !done {
        d.handle.send(Command::Train(Steps::Stage));
        d.until(|e| match e {
            Event::Step(s) => {
                steps.push(s.update);
                None
            }
            Event::StageDone(_) => Some(()),
            _ => None,
        });
    }
    assert_eq!(steps, (1..=steps.len() as u64).collect::<Vec<_>>(), "no step is lost or made twice");
}
