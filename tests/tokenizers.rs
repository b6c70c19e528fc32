//! Tokenizers without any model: hostile files get a sentence, and streamed text is never lost.

use hive::data::bpe::Bpe;
use hive::data::rng::Rng;
use serde_json::{Value, json};

/// A tokenizer like Llama's: pieces with leading spaces, and the bytes of what has no piece.
fn llama() -> Value {
    let mut pieces = vec!["<unk>".to_owned(), "<s>".to_owned(), "</s>".to_owned()];
    pieces.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    pieces.extend(["▁", "a", "b", "▁a", "ab", "▁ab", "é"].map(str::to_owned));
    let vocab: serde_json::Map<String, Value> = pieces.into_iter().enumerate().map(|(i, p)| (p, json!(i))).collect();
    let special = |id: u32, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    };
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": null,
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false, "vocab": vocab,
            "merges": [["▁", "a"], ["a", "b"], ["▁a", "b"]]}
    })
}

/// A tokenizer like Qwen's: bytes as visible characters, and a pattern that cuts texts to words.
fn qwen() -> Value {
    let visible = |b: u32| (0x21..=0x7e).contains(&b) || (0xa1..=0xac).contains(&b) || (0xae..=0xff).contains(&b);
    let mut hidden = 0x100..;
    let letters = (0..256).map(|b| if visible(b) { b } else { hidden.next().unwrap() });
    let mut pieces: Vec<String> = letters.map(|c| char::from_u32(c).unwrap().to_string()).collect();
    pieces.extend(["ab", "Ġa", "Ġab"].map(str::to_owned));
    let vocab: serde_json::Map<String, Value> = pieces.into_iter().enumerate().map(|(i, p)| (p, json!(i))).collect();
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
    json!({
        "version": "1.0",
        "added_tokens": [{"id": 259, "content": "<|im_end|>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true}],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": " ?\\p{L}+|\\p{N}|\\s+(?!\\S)|\\s+"}, "behavior": "Isolated", "invert": false},
            {"type": "Digits", "individual_digits": true}, bytes]},
        "post_processor": bytes,
        "decoder": bytes,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false, "vocab": vocab,
            "merges": ["a b", "Ġ a", "Ġa b"]}
    })
}

fn bpe(json: &Value) -> Bpe {
    Bpe::from_json(&json.to_string()).unwrap()
}

/// The first tokenizer with one value replaced.
fn with(pointer: &str, value: Value) -> Value {
    changed(llama(), pointer, value)
}

fn changed(mut json: Value, pointer: &str, value: Value) -> Value {
    *json.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value;
    json
}

/// Uses a tokenizer in every way, with what files and models can contain.
fn exercise(tokenizer: &Bpe) {
    for text in ["", " ", "ab a  é日🙂\n1<s>x</s>", "▁▁a"] {
        for special in [false, true] {
            let ids = tokenizer.encode(text, special);
            let _ = tokenizer.decode(&ids);
        }
    }
    let all: Vec<u32> = (0..tokenizer.len().min(400) as u32).chain([u32::MAX]).collect();
    let _ = tokenizer.decode(&all);
    let mut stream = tokenizer.stream();
    for id in all {
        let _ = tokenizer.decode(&[id]);
        stream.push(id);
    }
    stream.finish();
}

#[test]
fn a_small_llama_tokenizer_works() {
    let tokenizer = bpe(&llama());
    let id = |token: &str| tokenizer.id(token).unwrap();
    assert_eq!(tokenizer.encode("ab a", true), [1, id("▁ab"), id("▁a")]);
    assert_eq!(tokenizer.encode("日", false), [id("▁"), 3 + 0xe6, 3 + 0x97, 3 + 0xa5]);
    assert_eq!(tokenizer.encode("a</s>", false)[1], 2);
    assert_eq!(tokenizer.decode(&[1, id("▁ab"), id("▁a"), 2]), "ab a");
    assert_eq!((tokenizer.len(), tokenizer.token(1).as_deref(), tokenizer.token(9999)), (266, Some("<s>"), None));
}

/// Every part that could make the tokenizer fail later is refused when the file is read, by its name.
#[test]
fn hostile_tokenizers_are_refused_with_a_sentence() {
    let piece = |kind: &str, id: &str| json!([{kind: {"id": id, "type_id": 0}}]);
    let cases = [
        ("merges", with("/model/merges", json!([["<0x00>", "<0x01>"]]))),
        ("merges", with("/model/merges", json!(["<0x00> <0x01>"]))),
        ("merges", with("/model/merges", json!([["a", "nothing"]]))),
        ("continuing_subword_prefix", with("/model/continuing_subword_prefix", json!("##long prefix"))),
        ("dropout", with("/model/dropout", json!(0.5))),
        ("unk_token", with("/model/unk_token", json!("missing"))),
        ("WordPiece", with("/model", json!({"type": "WordPiece", "vocab": {"a": 0}, "unk_token": "a"}))),
        ("unk_token", with("/model", json!({"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "<unk>"}))),
        ("unk_token", with("/model", json!({"type": "WordLevel", "vocab": {"a": 0}}))),
        ("no table", with("/model", json!({"type": "WordLevel", "vocab": ["a"], "unk_token": "a"}))),
        ("\"a\" has the id", with("/model", json!({"type": "WordLevel", "vocab": {"a": u32::MAX}, "unk_token": "a"}))),
        ("\"a\" has the id", with("/model/vocab/a", json!(u32::MAX))),
        ("\"a\" has the id", with("/model/vocab/a", json!(-1))),
        ("Precompiled", with("/normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"}))),
        ("Precompiled", with("/normalizer/normalizers/0", json!({"type": "Precompiled", "precompiled_charsmap": "A"}))),
        ("FixedLength", with("/pre_tokenizer", json!({"type": "FixedLength", "length": 0}))),
        ("stop", with("/decoder", json!({"type": "Strip", "content": " ", "start": 0, "stop": 3}))),
        ("stop", with("/decoder/decoders/3/stop", json!(9))),
        ("Decoder", with("/decoder", json!(5))),
        (
            "times as long",
            with(
                "/normalizer/normalizers",
                json!(vec![json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}); 40]),
            ),
        ),
        (
            "times as long",
            with(
                "/pre_tokenizer",
                json!({"type": "Sequence", "pretokenizers": vec![json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}); 30]}),
            ),
        ),
        ("pieces", with("/post_processor/single", json!(vec![json!({"Sequence": {"id": "A", "type_id": 0}}); 100]))),
        ("<b>", with("/post_processor/single", piece("SpecialToken", "<b>"))),
        ("pairs", with("/post_processor/single", piece("Sequence", "B"))),
        ("ids", with("/post_processor/special_tokens/<s>/ids", json!([1, 2, 3]))),
        (
            "one template",
            with(
                "/post_processor",
                json!({"type": "Sequence", "processors": [llama()["post_processor"], llama()["post_processor"]]}),
            ),
        ),
    ];
    let mut problems = Vec::new();
    for (word, json) in cases {
        let text = json.to_string();
        let result = std::panic::catch_unwind(|| Bpe::from_json(&text).map(|t| exercise(&t)));
        match result {
            Err(_) => problems.push(format!("{word}: a panic")),
            Ok(Ok(())) => problems.push(format!("{word}: taken as good")),
            Ok(Err(e)) if !e.to_string().contains(word) || !e.to_string().contains("tokenizer.json cannot be used") => {
                problems.push(format!("{word}: {e}"));
            }
            Ok(Err(_)) => {}
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

/// Characters of the file replaced at random: an error or another tokenizer, never a panic.
#[test]
fn tokenizers_with_changed_characters_never_panic() {
    let mut rng = Rng::new(7, 1);
    let strange =
        ["0", "9", "\"", "{", "}", "[", "]", ",", "null", "-1", "1e9", "true", "\"A\"", "\\u0000", "é", "<0x", ""];
    for text in [llama().to_string(), qwen().to_string()] {
        let mut good = 0;
        for round in 0..3000 {
            let mut changed = text.clone();
            for _ in 0..1 + round % 3 {
                let start = boundary(&changed, rng.below(changed.len()));
                let end = boundary(&changed, (start + rng.below(6)).min(changed.len()));
                changed.replace_range(start..end, strange[rng.below(strange.len())]);
            }
            if let Ok(tokenizer) = Bpe::from_json(&changed) {
                exercise(&tokenizer);
                good += 1;
            }
        }
        // Most faults in names and numbers of the vocabulary leave a tokenizer.
        assert!(good > 50, "only {good} of the files were taken: the changes are too coarse to test anything");
    }
}

/// The beginning of the character at this byte.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at).rev().find(|i| text.is_char_boundary(*i)).unwrap()
}

/// Whole values replaced, wherever they stand.
#[test]
fn tokenizers_with_changed_values_never_panic() {
    for file in [llama(), qwen()] {
        let mut pointers = Vec::new();
        collect(&file, String::new(), &mut pointers);
        // One letter of the vocabulary is like the others.
        let (vocab, mut rest): (Vec<_>, Vec<_>) = pointers.into_iter().partition(|p| p.starts_with("/model/vocab/"));
        rest.extend(vocab.into_iter().filter(|p| file.pointer(p).is_some()).step_by(23));
        assert!(rest.len() > 50);
        for pointer in rest.iter().filter(|p| file.pointer(p).is_some()) {
            let values = [json!(null), json!(0), json!(-1), json!(1e300), json!(""), json!([]), json!({}), json!("a")];
            for value in values.into_iter().chain([json!([[]]), json!(true), json!(u32::MAX)]) {
                if let Ok(tokenizer) = Bpe::from_json(&changed(file.clone(), pointer, value).to_string()) {
                    exercise(&tokenizer);
                }
            }
        }
    }
}

/// Places of all values below this one.
fn collect(value: &Value, at: String, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(k, v)| collect(v, format!("{at}/{k}"), out)),
        Value::Array(list) => list.iter().enumerate().for_each(|(i, v)| collect(v, format!("{at}/{i}"), out)),
        _ => {}
    }
    if !at.is_empty() {
        out.push(at);
    }
}

/// The pieces of streamed ids, and what came at the end.
fn streamed(tokenizer: &Bpe, ids: &[u32]) -> (Vec<String>, String) {
    let mut stream = tokenizer.stream();
    let pieces = ids.iter().map(|id| stream.push(*id)).collect();
    (pieces, stream.finish())
}

#[test]
fn streamed_text_is_whole_characters_and_nothing_is_lost() {
    let tokenizer = bpe(&llama());
    let byte = |b: u32| 3 + b;
    let [space, a, b, spaced_a] = ["▁", "a", "b", "▁a"].map(|t| tokenizer.id(t).unwrap());
    // Spaces stay where decoding all at once has them.
    for ids in [vec![1, spaced_a, spaced_a, b, 2], vec![space, spaced_a, space, space, a], vec![2, 1, spaced_a, 1, a]] {
        let (pieces, rest) = streamed(&tokenizer, &ids);
        assert_eq!(pieces.concat() + &rest, tokenizer.decode(&ids), "{ids:?}");
    }
    // A character comes when its last byte comes.
    let euro = [byte(0xe2), byte(0x82), byte(0xac)];
    assert_eq!(streamed(&tokenizer, &euro), (vec![String::new(), String::new(), "€".into()], String::new()));
    // A broken byte right behind a character that was told already: the text behind it still comes.
    let (pieces, rest) = streamed(&tokenizer, &[euro[0], euro[1], euro[2], byte(0xff), a, b, spaced_a]);
    assert_eq!(pieces.concat() + &rest, "€\u{fffd}ab a");
    assert_eq!(pieces[4..], ["\u{fffd}a", "b", " a"]);
    // And the first bytes of one that is never completed.
    let (pieces, rest) = streamed(&tokenizer, &[euro[0], euro[1], euro[2], euro[0], euro[1]]);
    assert_eq!((pieces.concat().as_str(), rest.chars().all(|c| c == '\u{fffd}'), rest.is_empty()), ("€", true, false));
}

/// Bytes of broken characters change nothing beside them, so this is exact.
#[test]
fn any_stream_of_bytes_is_what_decoding_gives() {
    let tokenizer = bpe(&qwen());
    assert_eq!(tokenizer.decode(&tokenizer.encode(" ab é日\n🙂1 ", false)), " ab é日\n🙂1 ");
    let mut rng = Rng::new(11, 2);
    let mut broken = 0;
    for _ in 0..3000 {
        let mut ids: Vec<u32> = Vec::new();
        for _ in 0..1 + rng.below(8) {
            match rng.below(4) {
                0 => ids.push(rng.below(256) as u32),
                1 => ids.push(256 + rng.below(4) as u32),
                _ => ids.extend(tokenizer.encode(["é", "日", "🙂", "a b"][rng.below(4)], false)),
            }
        }
        let (pieces, rest) = streamed(&tokenizer, &ids);
        assert_eq!(pieces.concat() + &rest, tokenizer.decode(&ids), "{ids:?}");
        broken += usize::from(tokenizer.decode(&ids).contains('\u{fffd}'));
    }
    assert!(broken > 300, "{broken}");
}

/// Streams of ids that a model may come up with: joined, they are what decoding gives, but for broken bytes.
#[test]
fn any_stream_is_what_decoding_gives() {
    let tokenizer = bpe(&llama());
    let mut rng = Rng::new(3, 5);
    let (mut whole, mut broken) = (0, 0);
    for _ in 0..3000 {
        let mut ids: Vec<u32> = Vec::new();
        for _ in 0..1 + rng.below(8) {
            match rng.below(8) {
                0 => ids.push(3 + rng.below(256) as u32),
                1 | 2 => {
                    let c = ["é", "日", "🙂", "a"][rng.below(4)];
                    ids.extend(c.bytes().map(|b| 3 + u32::from(b)));
                }
                3 => ids.push(rng.below(3) as u32),
                _ => ids.push(259 + rng.below(7) as u32),
            }
        }
        let (pieces, rest) = streamed(&tokenizer, &ids);
        let (joined, wanted) = (pieces.concat() + &rest, tokenizer.decode(&ids));
        if wanted.contains('\u{fffd}') {
            // All that is no broken byte is there, in order.
            let plain = |t: &str| t.chars().filter(|c| c.is_ascii_alphabetic()).collect::<String>();
            let letters = ids.iter().filter_map(|id| tokenizer.token(*id)).filter(|t| !t.starts_with('<'));
            assert!(plain(&joined).len() >= plain(&letters.collect::<String>()).len(), "{ids:?}: {joined}");
            broken += 1;
        } else {
            assert_eq!(joined, wanted, "{ids:?}");
            whole += 1;
        }
    }
    assert!(whole > 300 && broken > 300, "{whole} {broken}");
}
