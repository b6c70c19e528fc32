//! Real models: their tokenizers, their chat templates, and 64 greedy tokens against transformers'. `tests/models/get.sh` obtains
//! them; `tests/models/expect.py` made what is expected.

use std::io::Write as _;

use crate::common::{done, gpu, repository};
use hive::data::bpe::Bpe;
use hive::data::chat::{ChatTemplate, Message};
use hive::engine::answers::assistant::{End, Options};
use hive::engine::answers::open::ModelFolder;
use hive::model::decode::Prompt;
use hive::model::files::Folder;
use hive::model::load::Formats;
use hive::ops::packed::Format;
use hive::platform::{block_on, folder_blobs, read_file};
use serde::Deserialize;

/// Says it where the test harness does not swallow it.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The text of a file of a model. Without it: none, and a loud line; a failure where `HIVE_MODELS=required`.
fn text(path: &str) -> Option<String> {
    match read_file(&repository("target/models").join(path)) {
        Ok(bytes) => Some(String::from_utf8(bytes).unwrap()),
        Err(e) => {
            let required = std::env::var("HIVE_MODELS").is_ok_and(|v| v == "required");
            assert!(!required, "HIVE_MODELS=required, and {path}: {e}");
            let _ = writeln!(
                std::io::stderr(),
                "*** SKIPPED: target/models/{path} is not there; tests/models/get.sh gets it ***"
            );
            None
        }
    }
}

fn expected<T: for<'a> Deserialize<'a>>(name: &str) -> T {
    serde_json::from_slice(&read_file(&repository("tests/models").join(name)).unwrap()).unwrap()
}

#[derive(Deserialize)]
struct Texts {
    tokens: std::collections::BTreeMap<String, Vec<Encoded>>,
    chats: Vec<Chat>,
}

#[derive(Deserialize)]
struct Encoded {
    text: String,
    ids: Vec<u32>,
    decoded: String,
}

#[derive(Deserialize)]
struct Chat {
    model: String,
    messages: Vec<Message>,
    answer: bool,
    text: String,
}

#[test]
fn texts_become_the_tokens_that_the_reference_gives_and_text_again() {
    for (model, texts) in expected::<Texts>("text.json").tokens {
        let Some(json) = text(&format!("{model}/tokenizer.json")) else { return };
        let tokenizer = Bpe::from_json(&json).unwrap();
        for e in texts {
            assert_eq!(tokenizer.encode(&e.text, false), e.ids, "{model}: {:?}", e.text);
            assert_eq!(tokenizer.decode(&e.ids), e.decoded, "{model}: {:?}", e.text);
            let mut stream = tokenizer.stream();
            let pieces: Vec<String> = e.ids.iter().map(|id| stream.push(*id)).collect();
            assert!(pieces.iter().all(|p| !p.contains('\u{fffd}')), "{model}: a character is cut in {pieces:?}");
            assert_eq!(pieces.concat() + &stream.finish(), e.decoded, "{model}: {:?}", e.text);
        }
    }
}

#[test]
fn a_character_that_is_never_completed_is_told_at_the_end() {
    let Some(json) = text("smollm2-135m-instruct/tokenizer.json") else { return };
    let tokenizer = Bpe::from_json(&json).unwrap();
    let ids = tokenizer.encode("a日", false);
    let cut = &ids[..ids.len() - 1];
    let mut stream = tokenizer.stream();
    assert_eq!(cut.iter().map(|id| stream.push(*id)).collect::<String>(), "a");
    assert_eq!(format!("a{}", stream.finish()), tokenizer.decode(cut));
}

/// A damaged tokenizer is an error or another tokenizer, and never a panic.
#[test]
fn damaged_tokenizers_get_a_sentence() {
    let Some(json) = text("stories15m/tokenizer.json") else { return };
    for wrong in ["", "{}", "[]", "null", "{\"model\": 5}", &json[..json.len() / 2]] {
        let error = Bpe::from_json(wrong).err().unwrap().to_string();
        assert!(error.contains("tokenizer.json cannot be used"), "{error}");
    }
    // The settings before the vocabulary, one character at a time.
    let settings = json.find("\"vocab\"").unwrap();
    for at in (0..settings).step_by(29) {
        if json.is_char_boundary(at) && json.is_char_boundary(at + 1) {
            let changed = format!("{}7{}", &json[..at], &json[at + 1..]);
            if let Ok(tokenizer) = Bpe::from_json(&changed) {
                let ids = tokenizer.encode("Once upon a time", true);
                assert!(tokenizer.decode(&ids).len() < 1000);
            }
        }
    }
}

#[test]
fn conversations_become_the_text_that_transformers_gives() {
    for chat in expected::<Texts>("text.json").chats {
        let Some(settings) = text(&format!("{}/tokenizer_config.json", chat.model)) else { return };
        let template = ChatTemplate::from_files(Some(&settings), None).unwrap();
        assert_eq!(
            template.render(&chat.messages, chat.answer).unwrap(),
            chat.text,
            "{} {:?}",
            chat.model,
            chat.messages
        );
        let built_in = if chat.model.starts_with("smollm2") { "smollm2" } else { "qwen_2" };
        let built_in = ChatTemplate::built_in(built_in, template.specials().clone()).unwrap();
        // Qwen2.5 introduces itself otherwise than Qwen2.
        if chat.model.starts_with("smollm2") || chat.messages[0].role == "system" {
            assert_eq!(built_in.render(&chat.messages, chat.answer).unwrap(), chat.text);
        }
    }
}

#[derive(Deserialize)]
struct Continuation {
    prompt: String,
    ids: Vec<u32>,
    tokens: Vec<u32>,
    text: String,
}

/// Greedy continuations in a format, the first `count`: how many are equal, the worst's beginning, and tokens per second.
fn continuations(model: &str, format: Format, count: usize) -> Option<(usize, Vec<String>)> {
    text(&format!("{model}/config.json"))?;
    let gpu = gpu()?;
    let folder = Folder::new(folder_blobs(repository("target/models").join(model)).unwrap()).unwrap();
    let source = block_on(ModelFolder::open(&folder)).unwrap();
    assert_eq!(source.extra, [""; 0]);
    let formats = Formats::of(format);
    let mut assistant = block_on(source.load(&gpu, formats, 192, None, |_| true)).unwrap();
    let (mut equal, mut texts, mut rates) = (0, Vec::new(), Vec::new());
    for case in expected::<Vec<Continuation>>(&format!("{model}.json")).into_iter().take(count) {
        let options = Options { limit: 64, ..Options::default() };
        let mut streamed = String::new();
        let prompt = Prompt { ids: &case.ids, ..Prompt::default() };
        let reply = block_on(assistant.go_on(prompt, &options, |piece| {
            streamed.push_str(piece.text);
            true
        }))
        .unwrap();
        assert_eq!(streamed, reply.text);
        let said = reply.end == End::EndToken;
        let wanted = &case.tokens[..case.tokens.len() - usize::from(said)];
        let got: Vec<u32> = reply.tokens.iter().map(|t| t.token).collect();
        if got == wanted {
            equal += 1;
            assert_eq!(reply.text, case.text, "{model}: {}", case.prompt);
        } else {
            say(&format!("{model} {}: {} -> {}", format.name(), case.prompt, reply.text));
        }
        rates.push(reply.rate());
        texts.push(reply.text);
    }
    rates.sort_by(f64::total_cmp);
    let rate = rates[rates.len() / 2];
    say(&format!("{model} {}: {equal} of {count} equal, median {rate:.1} tokens/s", format.name()));
    done(&gpu);
    Some((equal, texts))
}

/// All 20 texts in `./hive test full`, else the first few.
fn some(few: usize) -> usize {
    if std::env::var("HIVE_FULL").is_ok_and(|v| v == "1") { 20 } else { few }
}

#[test]
fn smollm2_in_f32_says_what_transformers_says() {
    let count = some(3);
    let Some((equal, _)) = continuations("smollm2-135m-instruct", Format::F32, count) else { return };
    assert_eq!(equal, count);
}

#[test]
fn stories_in_f32_are_those_of_transformers() {
    let count = some(6);
    let Some((equal, _)) = continuations("stories15m", Format::F32, count) else { return };
    assert_eq!(equal, count);
}

#[test]
#[ignore = "minutes of packing and decoding on a CPU driver: ./hive test full"]
fn stories_in_int8_and_int4_read_on() {
    let Some((equal, _)) = continuations("stories15m", Format::Int8, 20) else { return };
    assert!(equal >= 10, "{equal}");
    let Some((_, texts)) = continuations("stories15m", Format::Int4, 5) else { return };
    texts.iter().for_each(|t| sensible(t));
}

#[test]
#[ignore = "minutes of packing on a CPU driver: ./hive test full"]
fn smollm2_in_int8_mostly_says_the_same() {
    let Some((equal, _)) = continuations("smollm2-135m-instruct", Format::Int8, 20) else { return };
    assert!(equal >= 18, "{equal}");
}

#[test]
#[ignore = "minutes of packing on a CPU driver: ./hive test full"]
fn smollm2_in_int4_reads_sensibly() {
    let Some((_, texts)) = continuations("smollm2-135m-instruct", Format::Int4, 4) else { return };
    assert!(texts[0].contains("Paris"), "{texts:?}");
    texts.iter().for_each(|t| sensible(t));
}

/// Words, not noise: mostly letters and spaces, and no word many times in a row.
#[track_caller]
fn sensible(text: &str) {
    let plain = text.chars().filter(|c| c.is_alphanumeric() || c.is_whitespace() || c.is_ascii_punctuation()).count();
    assert!(plain * 10 >= text.chars().count() * 9, "{text}");
    let words: Vec<&str> = text.split_whitespace().collect();
    assert!(words.windows(4).all(|w| w.iter().any(|x| *x != w[0])), "{text}");
}
