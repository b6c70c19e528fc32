//! Chat templates: how a conversation becomes one text. A model's own template is rendered as transformers does it; three
//! built-in ones serve models that have none.

use minijinja::value::Serde;
use minijinja::{Error, ErrorKind, context};
use serde::{Deserialize, Serialize};
use serde_json::json;
use thiserror::Error as ThisError;

use super::template::{environment, prepared};

/// Why a conversation has no text.
#[derive(Debug, ThisError)]
pub enum ChatError {
    /// A file with settings is not what it should be.
    #[error("{file} cannot be used ({reason}): copy or download it again")]
    #[expect(missing_docs, reason = "the sentence says what they are")]
    Settings { file: &'static str, reason: String },
    /// The template does not work.
    #[error("the model's chat template cannot be used ({reason}): remove it from {file} to talk in a plain form")]
    #[expect(missing_docs, reason = "the sentence says what they are")]
    Template { file: &'static str, reason: String },
    /// The mark of a picture stands more than once.
    #[error("{IMAGE} stands for the picture, and the conversation has it {0} times: leave it out of what is said")]
    Marks(usize),
    /// The template does not say where the picture is.
    #[error("the model's chat template leaves the picture out: it has no {IMAGE} for what is shown")]
    NoPicture,
    /// The template does not accept this conversation.
    #[error("the model's chat template refuses this conversation: {0}")]
    Refused(String),
}

/// Stands where a picture is.
pub const IMAGE: &str = "<image>";

/// A turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What is said. A picture stands where [`IMAGE`] and, perhaps, the end of a line is written.
    pub content: String,
}

impl Message {
    /// What `role` says.
    pub fn new(role: &str, content: impl Into<String>) -> Self {
        Self { role: role.to_owned(), content: content.into() }
    }

    /// What the user asks, below a picture or without one.
    #[must_use]
    pub fn question(text: &str, picture: bool) -> Self {
        Self::about(text, usize::from(picture))
    }

    /// What `role` says, with pictures (none) between the texts.
    #[must_use]
    pub fn of_parts(role: &str, parts: &[Option<String>]) -> Self {
        let one = |part: &Option<String>| part.clone().unwrap_or_else(|| format!("{IMAGE}\n"));
        Self::new(role, parts.iter().map(one).collect::<String>())
    }

    /// The same below so many pictures.
    #[must_use]
    pub fn about(text: &str, pictures: usize) -> Self {
        Self::new("user", format!("{}{text}", format!("{IMAGE}\n").repeat(pictures)))
    }
}

/// Special tokens by their names, as a model's files give them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Specials {
    pub bos_token: String,
    pub eos_token: String,
    pub pad_token: String,
    /// What no token has.
    pub unk_token: String,
}

/// Nothing but what is said, a line each.
const PLAIN: &str = "{{ bos_token }}{% for m in messages %}{{ m.content }}\n{% endfor %}";
/// The form of Qwen2, and its system message.
const QWEN_2: &str = "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
/// The same form with SmolLM2's.
const SMOLLM2: &str = "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

const SETTINGS: &str = "tokenizer_config.json";
const JINJA: &str = "chat_template.jinja";
/// Files that a template can be in, besides `tokenizer_config.json`; the first that is there counts.
pub const TEMPLATE_FILES: [&str; 3] = [JINJA, "chat_template.json", "processor_config.json"];

/// What no conversation says: by it one sees whether a template keeps what is said.
const PROBE: &str = "what-is-said";
/// What no part has: where it is written, the parts are written as they are.
const NO_KEY: &str = "no-such-key";

/// How a model wants a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatTemplate {
    source: String,
    /// Where it was found.
    file: &'static str,
    specials: Specials,
    /// Whether it takes what is said as a list of parts, with and without a picture.
    parts: [bool; 2],
}

/// Texts and pictures (none) of a message, in their order.
fn pieces(content: &str) -> Vec<Option<&str>> {
    let mut texts = content.split(IMAGE);
    let mut out = vec![texts.next()];
    for text in texts {
        out.extend([None, Some(text.strip_prefix('\n').unwrap_or(text))]);
    }
    out.retain(|piece| piece.is_none_or(|text| !text.is_empty()));
    out
}

/// What a message says as its parts, a picture or text each, as processors give them to templates.
fn parts(content: &str) -> serde_json::Value {
    let part = |piece: &Option<&str>| match piece {
        None => json!({"type": "image"}),
        Some(text) => json!({"type": "text", "text": text}),
    };
    let all = pieces(content);
    if all.is_empty() { json!([part(&Some(""))]) } else { all.iter().map(part).collect() }
}

/// How many pictures a message has, and what is said of them.
#[must_use]
pub fn said(content: &str) -> (usize, String) {
    let all = pieces(content);
    let texts: Vec<&str> = all.iter().copied().flatten().collect();
    (all.len() - texts.len(), texts.join("\n"))
}

/// A special token: its text, or an object with it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Token {
    Text(String),
    Object { content: String },
}

/// One template, or several with names.
#[derive(Deserialize)]
#[serde(untagged)]
enum Templates {
    One(String),
    Named(Vec<Named>),
}

impl Templates {
    /// The one that is meant where none is asked for by name.
    fn default(self) -> Option<String> {
        match self {
            Self::One(template) => Some(template),
            Self::Named(all) => {
                let default = all.iter().position(|t| t.name == "default").unwrap_or(0);
                all.into_iter().nth(default).map(|t| t.template)
            }
        }
    }
}

#[derive(Deserialize)]
struct Named {
    name: String,
    template: String,
}

#[derive(Default, Deserialize)]
struct Settings {
    chat_template: Option<Templates>,
    bos_token: Option<Token>,
    eos_token: Option<Token>,
    pad_token: Option<Token>,
    unk_token: Option<Token>,
}

fn text(token: Option<Token>) -> String {
    match token {
        Some(Token::Text(text) | Token::Object { content: text }) => text,
        None => String::new(),
    }
}

impl ChatTemplate {
    /// From `tokenizer_config.json` and `chat_template.jinja`, as far as they are there. Without a template of the model's own:
    /// the plain one.
    ///
    /// # Errors
    /// Files that cannot be understood, or a template that is none.
    pub fn from_files(settings: Option<&str>, jinja: Option<&str>) -> Result<Self, ChatError> {
        Self::from_folder(settings, jinja.map(|text| (JINJA, text)))
    }

    /// The same where the template is in another file: the first of [`TEMPLATE_FILES`] that a folder has counts, before what
    /// `tokenizer_config.json` says.
    ///
    /// # Errors
    /// As [`Self::from_files`].
    pub fn from_folder(settings: Option<&str>, named: Option<(&'static str, &str)>) -> Result<Self, ChatError> {
        let parse = |file, text| {
            super::json::parse::<Settings>(text).map_err(|e| ChatError::Settings { file, reason: e.to_string() })
        };
        let settings = settings.map_or(Ok(Settings::default()), |text| parse(SETTINGS, text))?;
        let named = match named {
            Some((JINJA, text)) => Some((JINJA, text.to_owned())),
            Some((file, text)) => parse(file, text)?.chat_template.and_then(Templates::default).map(|t| (file, t)),
            None => None,
        };
        let own = settings.chat_template.and_then(Templates::default).map(|t| (SETTINGS, t));
        let specials = Specials {
            bos_token: text(settings.bos_token),
            eos_token: text(settings.eos_token),
            pad_token: text(settings.pad_token),
            unk_token: text(settings.unk_token),
        };
        let (file, source) = named.or(own).unwrap_or_else(|| (SETTINGS, PLAIN.to_owned()));
        let wrong = |e: Error| ChatError::Template { file, reason: reason(&e) };
        let source = prepared(&source).map_err(wrong)?;
        environment(&source).map(drop).map_err(wrong)?;
        let mut template = Self { source, file, specials, parts: [false; 2] };
        template.parts = [false, true].map(|picture| template.wants_parts(picture));
        Ok(template)
    }

    /// The same with a template that a configuration has.
    ///
    /// # Errors
    /// As [`Self::from_files`].
    pub fn from_config(settings: Option<&str>, template: &str) -> Result<Self, ChatError> {
        let named = serde_json::json!({"chat_template": template}).to_string();
        Self::from_folder(settings, Some(("config.json", &named)))
    }

    /// A built-in template: `plain`, `qwen_2` or `smollm2`.
    #[must_use]
    pub fn built_in(name: &str, specials: Specials) -> Option<Self> {
        let source = match name {
            "plain" => PLAIN,
            "qwen_2" => QWEN_2,
            "smollm2" => SMOLLM2,
            _ => return None,
        };
        Some(Self { source: source.to_owned(), file: SETTINGS, specials, parts: [false; 2] })
    }

    /// Whether it keeps what is said only as parts; with a picture, whether it keeps both as parts, since a processor gives it
    /// those. Some templates go through the letters of a text as if they were parts, and nothing is left of it.
    fn wants_parts(&self, picture: bool) -> bool {
        let text = if picture { format!("{IMAGE}\n{PROBE}") } else { PROBE.to_owned() };
        let kept = |content: serde_json::Value| {
            let messages = json!([{"role": "user", "content": content}]);
            let text = self.written(&messages, true).unwrap_or_default();
            text.contains(PROBE) && !text.contains(NO_KEY) && (!picture || text.contains(IMAGE))
        };
        let as_parts = || {
            let mut all = parts(&text);
            for part in all.as_array_mut().into_iter().flatten() {
                part[NO_KEY] = json!(NO_KEY);
            }
            kept(all)
        };
        if picture { as_parts() } else { !kept(json!(text)) && as_parts() }
    }

    /// Special tokens of the model's files.
    #[must_use]
    pub fn specials(&self) -> &Specials {
        &self.specials
    }

    /// Does it take what is said about pictures as parts, in their order? Otherwise what is said is a text with marks.
    #[must_use]
    pub fn takes_parts(&self) -> bool {
        self.parts[1]
    }

    /// The text of a conversation; with `answer`, up to where the model's answer begins.
    ///
    /// # Errors
    /// A template that fails, or does not accept these turns.
    pub fn render(&self, messages: &[Message], answer: bool) -> Result<String, ChatError> {
        let picture = messages.iter().any(|m| m.content.contains(IMAGE));
        if !self.parts[usize::from(picture)] {
            return self.written(messages, answer);
        }
        let all: Vec<_> = messages.iter().map(|m| json!({"role": m.role, "content": parts(&m.content)})).collect();
        self.written(&all, answer)
    }

    fn written(&self, messages: &(impl Serialize + ?Sized), answer: bool) -> Result<String, ChatError> {
        let refused = |e: Error| match e.kind() {
            ErrorKind::InvalidOperation => ChatError::Refused(reason(&e)),
            _ => ChatError::Template { file: self.file, reason: reason(&e) },
        };
        let all = environment(&self.source).map_err(refused)?;
        let s = &self.specials;
        let values = context! {
            messages => Serde(messages),
            add_generation_prompt => answer,
            // Templates ask whether they are none.
            tools => (),
            documents => (),
            bos_token => &s.bos_token,
            eos_token => &s.eos_token,
            pad_token => &s.pad_token,
            unk_token => &s.unk_token,
        };
        all.get_template("chat").and_then(|t| t.render(values)).map_err(refused)
    }
}

fn reason(e: &Error) -> String {
    e.detail().map_or_else(|| e.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk(turns: &[(&str, &str)]) -> Vec<Message> {
        turns.iter().map(|(role, content)| Message { role: (*role).into(), content: (*content).into() }).collect()
    }

    #[test]
    fn built_in_templates_and_their_system_messages() {
        let specials = Specials { bos_token: "<s>".into(), ..Specials::default() };
        let render = |name: &str, turns: &[(&str, &str)], answer| {
            ChatTemplate::built_in(name, specials.clone()).unwrap().render(&talk(turns), answer).unwrap()
        };
        assert_eq!(render("plain", &[("user", "a"), ("assistant", "b")], true), "<s>a\nb\n");
        assert_eq!(
            render("qwen_2", &[("user", "hi")], true),
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
        );
        assert_eq!(
            render("smollm2", &[("system", "be brief"), ("user", "hi")], false),
            "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n"
        );
        assert!(ChatTemplate::built_in("other", Specials::default()).is_none());
    }

    #[test]
    fn pictures_stand_among_parts_where_they_are_shown() {
        let settings = r#"{"chat_template": "{% for m in messages %}{% for p in m.content %}{% if p.type == 'image' %}[<image>]{% else %}{{ p.text }}{% endif %}{% endfor %}{% endfor %}"}"#;
        let template = ChatTemplate::from_files(Some(settings), None).unwrap();
        let message = Message::of_parts("user", &[Some("a".into()), None, Some("b".into()), None]);
        assert_eq!(said(&message.content), (2, "a\nb".to_owned()));
        assert_eq!(template.render(&[message], false).unwrap(), "a[<image>]b[<image>]");
        assert!(template.takes_parts());
        assert_eq!(template.render(&[Message::about("b", 2)], false).unwrap(), "[<image>][<image>]b");
    }

    #[test]
    fn a_models_own_template_is_rendered_as_transformers_does() {
        let settings = r#"{"bos_token": {"content": "<b>"}, "eos_token": "<e>", "chat_template":
            [{"name": "tools", "template": "no"}, {"name": "default", "template":
            "{{ bos_token }}\n{%- for m in messages %}\n    {%- if m['role'] == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}\n    {{- m['content'].strip().upper() + eos_token }}\n{%- endfor %}"}]}"#;
        let template = ChatTemplate::from_files(Some(settings), None).unwrap();
        assert_eq!(template.render(&talk(&[("user", " hi ")]), true).unwrap(), "<b>HI<e>");
        let refused = template.render(&talk(&[("tool", "x")]), true).unwrap_err();
        assert!(matches!(&refused, ChatError::Refused(why) if why == "no tools here"), "{refused}");
        assert_eq!(
            ChatTemplate::from_files(Some(settings), Some("{{ 1 + 1 }}")).unwrap().render(&[], true).unwrap(),
            "2"
        );
    }

    #[test]
    fn what_is_no_template_gets_a_sentence() {
        let error = |s: Option<&str>, j: Option<&str>| ChatTemplate::from_files(s, j).unwrap_err().to_string();
        assert!(error(Some("{"), None).contains("tokenizer_config.json"));
        assert!(error(Some(r#"{"chat_template": 5}"#), None).contains("tokenizer_config.json"));
        assert!(error(None, Some("{% for %}")).contains("chat template cannot be used"));
        assert!(error(None, Some("{{ messages[0].content")).contains("chat template cannot be used"));
    }
}
