//! Chat templates without any model: they give what transformers gives, and end. `tests/models/chat.py` made what is expected.

use std::path::Path;

use hive::data::chat::{ChatTemplate, Message, Specials};
use hive::platform::read_file;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Chats {
    specials: Value,
    cases: Vec<Chat>,
}

#[derive(Deserialize)]
struct Chat {
    name: String,
    template: String,
    messages: Vec<Message>,
    answer: bool,
    text: String,
}

#[test]
fn templates_give_what_transformers_gives() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/chat.json");
    let chats: Chats = serde_json::from_slice(&read_file(&path).unwrap()).unwrap();
    let mut problems = Vec::new();
    for case in &chats.cases {
        let template = ChatTemplate::from_files(Some(&chats.specials.to_string()), Some(&case.template)).unwrap();
        match template.render(&case.messages, case.answer) {
            Ok(text) if text == case.text => {}
            other => {
                problems.push(format!("{}: {:?} is not {:?}", case.name, other.map_err(|e| e.to_string()), case.text));
            }
        }
    }
    assert!(chats.cases.len() > 50);
    assert!(problems.is_empty(), "{problems:#?}");
}

/// The limit on a template's steps is far above what long conversations take.
#[test]
fn long_conversations_are_rendered() {
    let turn = |i: usize| Message { role: ["user", "assistant"][i % 2].to_owned(), content: "word ".repeat(1000) };
    let messages: Vec<Message> = (0..4000).map(turn).collect();
    let template = ChatTemplate::built_in("qwen_2", Specials::default()).unwrap();
    assert!(template.render(&messages, true).unwrap().len() > 4000 * 5000);
}

/// A template that never ends, or wants all the memory, ends with a sentence.
#[test]
fn templates_that_never_end_are_stopped() {
    for source in [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{{ 'x' * 100000 }}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    ] {
        let template = ChatTemplate::from_files(None, Some(source)).unwrap();
        let error = template.render(&[], true).unwrap_err().to_string();
        assert!(error.contains("the model's chat template"), "{error}");
    }
}
