//! Chat templates: how a conversation becomes one text. A model's own template is rendered as transformers does it; three
//! built-in ones serve models that have none.

use std::io::{self, Write};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value};
use minijinja::{Environment, Error, ErrorKind, context};
use serde::{Deserialize, Serialize};
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};
use thiserror::Error as ThisError;

/// Why a conversation has no text.
#[derive(Debug, ThisError)]
pub enum ChatError {
    /// `tokenizer_config.json` is not what it should be.
    #[error("tokenizer_config.json cannot be used ({0}): copy or download it again")]
    Settings(String),
    /// The template does not work.
    #[error(
        "the model's chat template cannot be used ({0}): remove it from tokenizer_config.json to talk in a plain form"
    )]
    Template(String),
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
    /// What is said. A picture stands where [`IMAGE`] is written.
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
        Self::new("user", if picture { format!("{IMAGE}\n{text}") } else { text.to_owned() })
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

/// Steps that a template may take: one that never ends must not keep a page waiting.
const FUEL: u64 = 3_000_000;

/// Words and signs that one tag may have: each may nest the parser by a level, and stacks are finite.
const TAG: usize = 2000;

/// Whether a format names a number of more than four digits.
fn is_wide(format: &str) -> bool {
    format.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.len() > 4)
}

/// Whether a tag has more than [`TAG`] words and signs. What stands between quotes counts once.
fn is_deep(source: &str) -> bool {
    let (mut inside, mut quote, mut word, mut count) = (false, None, false, 0);
    let mut before = ' ';
    for c in source.chars() {
        match (inside, quote) {
            (false, _) if before == '{' && matches!(c, '{' | '%') => (inside, count, word) = (true, 0, false),
            (false, _) => {}
            (true, Some(end)) => {
                let escaped = before == '\\';
                quote = Some(end).filter(|end| escaped || c != *end);
            }
            (true, None) if matches!(before, '}' | '%') && c == '}' => inside = false,
            (true, None) => {
                let part = c.is_alphanumeric() || c == '_';
                count += usize::from(!(c.is_whitespace() || part && word));
                word = part;
                quote = Some(c).filter(|c| matches!(c, '\'' | '"'));
            }
        }
        if count > TAG {
            return true;
        }
        // A backslash that is escaped escapes nothing.
        before = if before == '\\' && c == '\\' { ' ' } else { c };
    }
    false
}

/// How a model wants a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatTemplate {
    source: String,
    specials: Specials,
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
        let parse = |s| serde_json::from_str::<Settings>(s).map_err(|e| ChatError::Settings(e.to_string()));
        let settings = settings.map_or(Ok(Settings::default()), parse)?;
        let own = settings.chat_template.and_then(|t| match t {
            Templates::One(template) => Some(template),
            Templates::Named(all) => {
                let default = all.iter().position(|t| t.name == "default").unwrap_or(0);
                all.into_iter().nth(default).map(|t| t.template)
            }
        });
        let specials = Specials {
            bos_token: text(settings.bos_token),
            eos_token: text(settings.eos_token),
            pad_token: text(settings.pad_token),
            unk_token: text(settings.unk_token),
        };
        let source = jinja.map(str::to_owned).or(own).unwrap_or_else(|| PLAIN.to_owned());
        let template = Self { source, specials };
        template.environment().map(drop).map_err(|e| ChatError::Template(said(&e)))?;
        Ok(template)
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
        Some(Self { source: source.to_owned(), specials })
    }

    /// Special tokens of the model's files.
    #[must_use]
    pub fn specials(&self) -> &Specials {
        &self.specials
    }

    fn environment(&self) -> Result<Environment<'_>, Error> {
        let mut all = Environment::new();
        all.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        all.set_unknown_method_callback(|state, value, method, args| {
            // A width of a format costs one step and any memory.
            if method == "format" && value.as_str().is_some_and(is_wide) {
                return Err(Error::new(ErrorKind::OutOfFuel, "a format is wider than 9999 characters"));
            }
            minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args)
        });
        all.add_function("raise_exception", |text: String| -> Result<String, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, text))
        });
        all.add_filter("tojson", to_json);
        all.set_fuel(Some(FUEL));
        if is_deep(&self.source) {
            return Err(Error::new(ErrorKind::SyntaxError, format!("a tag has more than {TAG} words and signs")));
        }
        all.add_template("chat", &self.source)?;
        Ok(all)
    }

    /// The text of a conversation; with `answer`, up to where the model's answer begins.
    ///
    /// # Errors
    /// A template that fails, or does not accept these turns.
    pub fn render(&self, messages: &[Message], answer: bool) -> Result<String, ChatError> {
        let refused = |e: Error| match e.kind() {
            ErrorKind::InvalidOperation => ChatError::Refused(said(&e)),
            _ => ChatError::Template(said(&e)),
        };
        let all = self.environment().map_err(refused)?;
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

/// JSON on one line as Python writes it, with a space behind commas and colons.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: Write + ?Sized>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        to.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: Write + ?Sized>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        to.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: Write + ?Sized>(&mut self, to: &mut W) -> io::Result<()> {
        to.write_all(b": ")
    }
}

/// The filter `tojson` of transformers: unlike the usual one it leaves `<`, `>`, `&` and `'` as they are.
#[expect(clippy::needless_pass_by_value, reason = "filters get their named arguments like this")]
fn to_json(value: &Value, indent: Option<usize>, rest: Kwargs) -> Result<String, Error> {
    let indent = indent.or(rest.get("indent")?);
    let mut out = Vec::new();
    let written = match indent {
        Some(width) => {
            let width = " ".repeat(width.min(16));
            let pretty = PrettyFormatter::with_indent(width.as_bytes());
            value.serialize(&mut Serializer::with_formatter(&mut out, pretty))
        }
        None => value.serialize(&mut Serializer::with_formatter(&mut out, Spaced)),
    };
    let fault = |e: String| Error::new(ErrorKind::BadSerialization, e);
    written.map_err(|e| fault(e.to_string()))?;
    String::from_utf8(out).map_err(|e| fault(e.to_string()))
}

fn said(e: &Error) -> String {
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
