//! The word tokenizer as the files that other programs read: `tokenizer.json` of kind `WordLevel`, and
//! `tokenizer_config.json` with a chat template that gives the rows of `batch`.

use serde_json::{Map, Value, json};

use super::tokenizer::{END, PAD, SPECIALS, START, Tokenizer, UNKNOWN, is_word};

/// Letters and digits.
const LETTER: &str = r"[\p{Alphabetic}\p{N}]";
/// What holds two parts of a word together.
const JOINT: &str = "['’-]";

/// The picture, `<s>`, then for every turn the question with its question mark, the answer, `</s>`.
const TEMPLATE: &str = concat!(
    "{{ '<image>' if '<image>' in messages[0]['content'] else '' }}{{ bos_token }}",
    "{% for m in messages %}{% if m['role'] == 'system' %}",
    "{{ raise_exception('this model knows questions and answers alone: leave the system message out') }}",
    "{% elif m['role'] == 'user' %}{% set question = m['content'].replace('<image>', '').strip().rstrip('?').rstrip() %}",
    "{% if question == '' %}{{ raise_exception('the question is empty') }}{% endif %}",
    "{{ ' ' + question + ' ?' }}{% else %}{{ ' ' + m['content'].strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
);

/// A token that is recognised where it is written. An answer shows `<unk>`, but no other of them.
fn added(id: u32) -> Value {
    json!({
        "id": id, "content": SPECIALS[id as usize], "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": id != UNKNOWN,
    })
}

/// A pattern whose matches are the words of `tokenizer::split`. Where the vocabulary has a word and `s` but not both as one,
/// the plural is two matches.
fn pattern(words: &Tokenizer) -> String {
    let mut singular: Vec<&String> = words.words()[SPECIALS.len()..]
        .iter()
        .filter(|w| is_word(w))
        .filter(|w| words.id("s").is_some() && words.id(&format!("{w}s")).is_none())
        .collect();
    // The longest first: it is the one that lacks nothing but the s.
    singular.sort_by_key(|w| std::cmp::Reverse(w.len()));
    let plural = match singular.as_slice() {
        [] => String::new(),
        all => {
            let all = all.iter().map(|w| w.as_str()).collect::<Vec<_>>().join("|");
            format!("(?:{all})(?=s(?!{LETTER}|{JOINT}{LETTER}))|")
        }
    };
    let silent = if words.id("?").is_some() { "" } else { "?" };
    format!(r"{plural}{LETTER}+(?:{JOINT}{LETTER}+)*|[^\s\p{{Cc}}\p{{Alphabetic}}\p{{N}}{silent}]")
}

/// Lower case; words joined that the vocabulary joins with a hyphen.
fn normalizer(words: &Tokenizer) -> Value {
    let space = |(first, last): (&str, &str)| {
        let begins = format!("(?<={first})(?<!{LETTER}{first})(?<!{LETTER}{JOINT}{first})");
        format!(r"{begins}[\s\p{{Cc}}]+(?={last}(?!{LETTER}|{JOINT}{LETTER}))")
    };
    let spaces: Vec<String> = words.joints().map(space).collect();
    let lower = json!({"type": "Lowercase"});
    if spaces.is_empty() {
        return lower;
    }
    let join = json!({"type": "Replace", "pattern": {"Regex": spaces.join("|")}, "content": "-"});
    json!({"type": "Sequence", "normalizers": [lower, join]})
}

/// The text of `tokenizer.json`.
#[must_use]
pub fn tokenizer_json(words: &Tokenizer) -> String {
    let vocab: Map<String, Value> = words.words().iter().zip(0_u32..).map(|(w, id)| (w.clone(), json!(id))).collect();
    let start = SPECIALS[START as usize];
    let piece = |kind: &str, id: &str, kind_id: u32| json!({kind: {"id": id, "type_id": kind_id}});
    let file = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [added(PAD), added(START), added(END), added(UNKNOWN)],
        "normalizer": normalizer(words),
        "pre_tokenizer": {
            "type": "Split", "pattern": {"Regex": pattern(words)}, "behavior": "Removed", "invert": true,
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [piece("SpecialToken", start, 0), piece("Sequence", "A", 0)],
            "pair": [piece("SpecialToken", start, 0), piece("Sequence", "A", 0), piece("Sequence", "B", 1)],
            "special_tokens": {start: {"id": start, "ids": [START], "tokens": [start]}},
        },
        "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": SPECIALS[UNKNOWN as usize]},
    });
    format!("{file:#}\n")
}

/// The text of `tokenizer_config.json` of a model for so many tokens.
#[must_use]
pub fn tokenizer_config(positions: usize) -> String {
    let token = |id: u32| SPECIALS[id as usize];
    let file = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": token(START), "eos_token": token(END), "pad_token": token(PAD), "unk_token": token(UNKNOWN),
        "clean_up_tokenization_spaces": false,
        "model_max_length": positions,
        "chat_template": TEMPLATE,
    });
    format!("{file:#}\n")
}

#[cfg(test)]
mod tests {
    use super::super::bpe::Bpe;
    use super::super::chat::{ChatTemplate, Message};
    use super::super::dataset::Dataset;
    use super::super::rng::Rng;
    use super::super::worlds::Split;
    use super::*;

    fn both(words: Vec<String>) -> (Tokenizer, Bpe) {
        let words = Tokenizer::new(words).unwrap();
        let file = Bpe::from_json(&tokenizer_json(&words)).unwrap();
        (words, file)
    }

    #[test]
    fn the_file_reads_texts_as_training_did() {
        let made = ["s", "is", "island", "cat", "cats", "-", "t-rex", "it's", "ß", "?", "7"].map(str::to_owned);
        let vocabularies = [
            Dataset::Pictures.words(),
            Dataset::Shapes.words(),
            Dataset::Grounds.words(),
            [SPECIALS.map(str::to_owned).to_vec(), made.to_vec()].concat(),
        ];
        for words in vocabularies {
            let (words, file) = both(words);
            for dataset in Dataset::ALL {
                for sample in dataset.samples(Split::HeldOut, 0, 0, 40, 4) {
                    for text in sample.turns.iter().flat_map(|t| [&t.question, &t.answer]).chain([&sample.description])
                    {
                        assert_eq!(file.encode(text, false), words.encode(text), "{text}");
                    }
                }
            }
            for text in [
                "",
                "  ",
                "How many dogs? Cats, islands!",
                "DOGS' dogs's dog-s is iss islands cats catss s ss",
                "A T-rex's \"well-known\" tail - it's 77 7s 7-s -- a--b 'dogs'",
                "Straße ß ẞ é日 🙂\u{7}\n\tx",
                "it’s t-rexs",
                "The T rex, a t  rex's, t rex-s at rex t? rex top left? TOP\u{7} left, stop left top left-hand",
                "x-top left l'top left _top left cat - t rex",
            ] {
                assert_eq!(file.encode(text, false), words.encode(text), "{text}");
            }
            assert_eq!(file.encode("?", true)[0], START);
            assert_eq!(file.encode("<s> <unk></s>", false), [START, UNKNOWN, END]);
            let ids: Vec<u32> = (0..words.size() as u32).collect();
            assert_eq!(file.decode(&ids), words.decode(&ids));
        }
    }

    /// Words with hyphens that share parts, in texts drawn of those parts.
    #[test]
    fn hyphens_join_the_same_in_file_and_program() {
        let made = "a b c d e f g a-b b-c d-e d-e-f c-c f-g-a h-i-j j k-l k";
        let made: Vec<String> = SPECIALS.into_iter().chain(made.split(' ')).map(str::to_owned).collect();
        let (words, file) = both(made);
        let parts = ["a", "b", "c", "d", "e", "d", "e", "f", "g", "h", "i", "j", "k", "l", "k", "l"];
        let mut rng = Rng::new(5, 5);
        let mut joined = 0;
        for _ in 0..3000 {
            let mut text = String::new();
            for _ in 0..1 + rng.below(5) {
                text += parts[rng.below(parts.len())];
                text += [" ", " ", " ", " ", "\n ", "-", ", ", "'"][rng.below(8)];
            }
            let ids = words.encode(&text);
            assert_eq!(file.encode(&text, false), ids, "{text:?}");
            joined +=
                usize::from(!text.contains('-') && ids.iter().any(|id| words.words()[*id as usize].contains('-')));
        }
        assert!(joined > 40, "{joined} texts without a hyphen have a word with one: this tests little");
    }

    #[test]
    fn the_template_makes_training_rows() {
        let (words, file) = both(Dataset::Pictures.words());
        let template = ChatTemplate::from_files(Some(&tokenizer_config(2048)), None).unwrap();
        let say = |turns: &[(&str, &str)]| {
            let message = |(role, content): &(&str, &str)| Message { role: (*role).into(), content: (*content).into() };
            template.render(&turns.iter().map(message).collect::<Vec<_>>(), true)
        };
        let text =
            say(&[("user", "<image>\nWhat is it??"), ("assistant", "dog"), ("user", "where is the dog")]).unwrap();
        let rest = text.strip_prefix("<image>").unwrap();
        let want =
            [vec![START], words.encode("what is it ? dog"), vec![END], words.encode("where is the dog ?")].concat();
        assert_eq!(file.encode(rest, false), want);
        assert!(say(&[("user", "what is it")]).unwrap().starts_with("<s>"));
        assert!(say(&[("user", "<image>\n ?")]).unwrap_err().to_string().contains("the question is empty"));
        let system = say(&[("system", "be brief"), ("user", "a")]).unwrap_err().to_string();
        assert!(system.contains("leave the system message out"), "{system}");
    }
}
