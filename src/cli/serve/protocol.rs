//! Chat completions as OpenAI's clients ask for them, and what they are answered.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::data::chat::{IMAGE, Message};
use crate::engine::answers::assistant::{End, Options};
use crate::ops::sample::Settings;

/// A refusal: HTTP status, and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) text: String,
}

impl Refusal {
    /// The client's fault.
    pub(super) fn bad(text: impl Into<String>) -> Self {
        Self { status: 400, text: text.into() }
    }

    /// The model ended without a word.
    pub(super) fn gone() -> Self {
        Self { status: 500, text: "the model has stopped: start the server again".into() }
    }

    /// As OpenAI's clients read it.
    pub(super) fn body(&self) -> Value {
        let kind = match self.status {
            401 => "authentication_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        };
        json!({"error": {"message": self.text, "type": kind, "param": null, "code": self.status}})
    }
}

/// What is asked.
#[derive(Debug)]
pub(super) struct Request {
    /// The model's name.
    pub(super) model: String,
    pub(super) messages: Vec<Message>,
    /// Files of the pictures of all messages, in their order.
    pub(super) pictures: Vec<Vec<u8>>,
    pub(super) options: Options,
    /// Is the answer told as it comes?
    pub(super) stream: bool,
    /// Do counts of tokens follow a streamed answer?
    pub(super) usage: bool,
    /// Sentences about what was asked for and is not done.
    pub(super) notes: Vec<String>,
}

/// Fields that are obeyed.
const KNOWN: [&str; 14] = [
    "model",
    "messages",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "seed",
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "stream",
    "stream_options",
    "n",
];
/// Fields that change no answer.
const IDLE: [&str; 7] =
    ["user", "metadata", "store", "service_tier", "parallel_tool_calls", "safety_identifier", "prompt_cache_key"];
/// Fields that would change an answer, with what asks for nothing.
const REFUSED: [&str; 14] = [
    "tools",
    "tool_choice",
    "functions",
    "function_call",
    "response_format",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "frequency_penalty",
    "presence_penalty",
    "modalities",
    "audio",
    "reasoning_effort",
    "web_search_options",
];

/// Does a value ask for nothing?
fn is_idle(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::Array(all) => all.is_empty() || *value == json!(["text"]),
        Value::Object(all) => all.is_empty() || *value == json!({"type": "text"}),
        Value::String(text) => text == "none" || text == "auto",
        Value::Bool(true) => false,
    }
}

/// A field that is `want`, if it is there.
fn field<T>(
    all: &Map<String, Value>,
    name: &str,
    want: &str,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<Option<T>, Refusal> {
    match all.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let wrong = || Refusal::bad(format!("\"{name}\" is {value}, and is to be {want}"));
            read(value).map(Some).ok_or_else(wrong)
        }
    }
}

fn number(all: &Map<String, Value>, name: &str) -> Result<Option<f64>, Refusal> {
    field(all, name, "a number", Value::as_f64)
}

fn count(all: &Map<String, Value>, name: &str) -> Result<Option<u64>, Refusal> {
    field(all, name, "a whole number from 0 on", Value::as_u64)
}

fn truth(all: &Map<String, Value>, name: &str) -> Result<bool, Refusal> {
    Ok(field(all, name, "true or false", Value::as_bool)?.unwrap_or(false))
}

impl Request {
    /// Of a request's body. `limit` is how many tokens an answer has at most where the request does not say.
    pub(super) fn read(body: &[u8], limit: usize) -> Result<Self, Refusal> {
        let whole: Value =
            serde_json::from_slice(body).map_err(|e| Refusal::bad(format!("the request is no JSON: {e}")))?;
        let all = whole.as_object().ok_or_else(|| Refusal::bad("the request is to be a JSON object"))?;
        if let Some((name, value)) = all.iter().find(|(name, value)| REFUSED.contains(&&***name) && !is_idle(value)) {
            return Err(Refusal::bad(format!("\"{name}\": {} is asked for, which is not done here", short(value))));
        }
        if count(all, "n")?.is_some_and(|n| n != 1) {
            return Err(Refusal::bad("\"n\" is 1 here: ask again for another answer"));
        }
        let unknown: Vec<&str> = all.keys().map(String::as_str).filter(|name| !is_known(name)).collect();
        let mut notes = Vec::new();
        if !unknown.is_empty() {
            notes.push(format!("not known and not used: {}", unknown.join(", ")));
        }
        let model = all.get("model").and_then(Value::as_str).ok_or_else(|| Refusal::bad("there is no \"model\""))?;
        let list = all.get("messages").and_then(Value::as_array).filter(|list| !list.is_empty());
        let list = list.ok_or_else(|| Refusal::bad("\"messages\" is to be a list with a message at least"))?;
        let (mut messages, mut pictures) = (Vec::new(), Vec::new());
        for (i, value) in list.iter().enumerate() {
            messages.push(message(value, &format!("messages[{i}]"), &mut pictures)?);
        }
        let include = all.get("stream_options").and_then(|options| options.get("include_usage"));
        let limit = match count(all, "max_completion_tokens")?.or(count(all, "max_tokens")?) {
            Some(0) => return Err(Refusal::bad("\"max_tokens\" is 1 at least")),
            Some(most) => usize::try_from(most).unwrap_or(usize::MAX).min(limit),
            None => limit,
        };
        Ok(Self {
            model: model.to_owned(),
            messages,
            pictures,
            options: Options { sampling: sampling(all)?, limit, stop: stop(all)? },
            stream: truth(all, "stream")?,
            usage: include.and_then(Value::as_bool).unwrap_or(false),
            notes,
        })
    }
}

fn is_known(name: &str) -> bool {
    KNOWN.contains(&name) || IDLE.contains(&name) || REFUSED.contains(&name)
}

/// A value in a sentence.
fn short(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = value.to_string();
    if text.chars().count() <= LONGEST { text } else { text.chars().take(LONGEST).chain("...".chars()).collect() }
}

fn sampling(all: &Map<String, Value>) -> Result<Settings, Refusal> {
    let usual = Settings::default();
    let float = |name: &str, usual: f32| number(all, name).map(|n| n.map_or(usual, |n| n as f32));
    let wide = |_wide| Refusal::bad(format!("\"top_k\" is {} at most", u32::MAX));
    let top_k = count(all, "top_k")?.map_or(Ok(usual.top_k), |k| u32::try_from(k).map_err(wide))?;
    let settings = Settings {
        temperature: float("temperature", usual.temperature)?,
        top_k,
        top_p: float("top_p", usual.top_p)?,
        min_p: float("min_p", usual.min_p)?,
        repetition_penalty: float("repetition_penalty", usual.repetition_penalty)?,
        seed: count(all, "seed")?.unwrap_or(usual.seed),
    };
    settings.check().map_err(Refusal::bad)?;
    Ok(settings)
}

fn stop(all: &Map<String, Value>) -> Result<Vec<String>, Refusal> {
    let wrong = || Refusal::bad("\"stop\" is to be a text that is not empty, or a list of such texts");
    let texts = match all.get("stop") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(list)) => {
            list.iter().map(|text| text.as_str().map(str::to_owned).ok_or_else(wrong)).collect::<Result<_, _>>()?
        }
        Some(_) => return Err(wrong()),
    };
    if texts.iter().any(String::is_empty) { Err(wrong()) } else { Ok(texts) }
}

/// A message; its pictures are added to those of the messages before.
fn message(value: &Value, place: &str, pictures: &mut Vec<Vec<u8>>) -> Result<Message, Refusal> {
    let role = value.get("role").and_then(Value::as_str).unwrap_or_default();
    // What was a system message is a developer's for some clients.
    let role = if role == "developer" { "system" } else { role };
    if !["system", "user", "assistant"].contains(&role) {
        return Err(Refusal::bad(format!("{place}.role is \"{role}\", and is to be system, user or assistant")));
    }
    let parts = match value.get("content") {
        Some(Value::String(text)) => vec![Some(text.clone())],
        Some(Value::Array(list)) => {
            let read = |(i, part): (usize, &Value)| part_of(part, &format!("{place}.content[{i}]"), role, pictures);
            list.iter().enumerate().map(read).collect::<Result<_, _>>()?
        }
        _ => return Err(Refusal::bad(format!("{place}.content is to be a text or a list of parts"))),
    };
    if parts.iter().flatten().any(|text| text.contains(IMAGE)) {
        return Err(Refusal::bad(format!("{place} says {IMAGE}, which stands for a picture here: leave it out")));
    }
    Ok(Message::of_parts(role, &parts))
}

/// A text, or a picture (none).
fn part_of(part: &Value, place: &str, role: &str, pictures: &mut Vec<Vec<u8>>) -> Result<Option<String>, Refusal> {
    match part.get("type").and_then(Value::as_str) {
        Some("text") => match part.get("text").and_then(Value::as_str) {
            Some(text) => Ok(Some(text.to_owned())),
            None => Err(Refusal::bad(format!("{place}.text is to be a text"))),
        },
        Some("image_url") => {
            if role != "user" {
                return Err(Refusal::bad(format!(
                    "{place} is a picture of the role {role}: users alone show pictures"
                )));
            }
            let url = part.get("image_url").and_then(|image| image.get("url").unwrap_or(image).as_str());
            let url = url.ok_or_else(|| Refusal::bad(format!("{place}.image_url.url is to be a text")))?;
            pictures.push(data_of(url, place)?);
            Ok(None)
        }
        other => Err(Refusal::bad(format!(
            "{place}.type is \"{}\", and is to be text or image_url",
            other.unwrap_or_default()
        ))),
    }
}

/// The bytes of a data URL. Others are not looked at: a server that fetches what it is told to reaches what its clients cannot.
fn data_of(url: &str, place: &str) -> Result<Vec<u8>, Refusal> {
    let Some((_, data)) = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")) else {
        let start: String = url.chars().take(40).collect();
        return Err(Refusal::bad(format!(
            "{place}: a picture comes as data:image/png;base64,... (or jpeg, webp); \"{start}\" is not fetched"
        )));
    };
    STANDARD.decode(data.trim()).map_err(|e| Refusal::bad(format!("{place}: the picture is no base64: {e}")))
}

/// Why an answer ended, in OpenAI's words.
pub(super) fn finish(end: End) -> &'static str {
    match end {
        End::EndToken | End::Stop | End::Cancelled => "stop",
        End::Limit | End::Full => "length",
    }
}

/// What all parts of an answer begin with.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) id: String,
    /// Seconds since 1970.
    pub(super) created: u64,
    pub(super) model: String,
}

/// Tokens of question and answer.
pub(super) fn usage(prompt: usize, made: usize) -> Value {
    json!({"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made})
}

impl Head {
    fn with(&self, object: &str, choices: &Value) -> Value {
        json!({"id": self.id, "object": object, "created": self.created, "model": self.model, "choices": choices})
    }

    /// An answer.
    pub(super) fn whole(&self, text: &str, end: End, usage: &Value, notes: &[String]) -> Value {
        let message = json!({"role": "assistant", "content": text, "refusal": null});
        let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": finish(end)});
        let mut out = self.with("chat.completion", &json!([choice]));
        out["usage"] = usage.clone();
        if !notes.is_empty() {
            out["notes"] = json!(notes);
        }
        out
    }

    /// A piece of an answer; the first has the role, the last says why it ended.
    pub(super) fn piece(&self, delta: &Value, end: Option<End>) -> Value {
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": end.map(finish)});
        self.with("chat.completion.chunk", &json!([choice]))
    }

    /// The counts that follow a streamed answer.
    pub(super) fn counts(&self, usage: &Value) -> Value {
        let mut out = self.with("chat.completion.chunk", &json!([]));
        out["usage"] = usage.clone();
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &Value) -> Result<Request, String> {
        Request::read(value.to_string().as_bytes(), 100).map_err(|refusal| refusal.text)
    }

    fn with(fields: &Value) -> Value {
        let mut all = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        all
    }

    #[test]
    fn pictures_stand_where_they_are_shown() {
        let part =
            |data: &str| json!({"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{data}")}});
        let text = |text: &str| json!({"type": "text", "text": text});
        let content = json!([text("what is"), part("AQI="), text("and"), part("Aw==")]);
        let asked = read(&with(&json!({"messages": [{"role": "user", "content": content}]}))).unwrap();
        assert_eq!(asked.messages[0].content, format!("what is{IMAGE}\nand{IMAGE}\n"));
        assert_eq!(asked.pictures, [vec![1, 2], vec![3]]);
    }

    #[test]
    fn what_would_change_an_answer_is_obeyed_or_refused() {
        let asked =
            read(&with(&json!({"temperature": 0.5, "max_tokens": 7, "stop": "x", "seed": 3, "top_p": 0.9}))).unwrap();
        let Options { sampling, limit, stop } = asked.options;
        assert_eq!((sampling.temperature, sampling.top_p, sampling.seed, limit), (0.5, 0.9, 3, 7));
        assert_eq!(stop, ["x"]);
        for (fields, words) in [
            (json!({"tools": [{"type": "function"}]}), "\"tools\""),
            (json!({"logprobs": true}), "\"logprobs\""),
            (json!({"response_format": {"type": "json_object"}}), "\"response_format\""),
            (json!({"frequency_penalty": 0.5}), "\"frequency_penalty\""),
            (json!({"n": 2}), "\"n\" is 1"),
            (json!({"max_tokens": 0}), "1 at least"),
            (json!({"max_tokens": -1}), "\"max_tokens\" is -1"),
            (json!({"temperature": -1}), "temperature"),
            (json!({"stop": [""]}), "\"stop\""),
            (json!({"messages": []}), "\"messages\""),
            (json!({"messages": [{"role": "tool", "content": "x"}]}), "messages[0].role"),
            (json!({"messages": [{"role": "user", "content": 1}]}), "messages[0].content"),
            (json!({"messages": [{"role": "user", "content": "an <image>"}]}), "<image>"),
            (json!({"model": null}), "\"model\""),
        ] {
            let refused = read(&with(&fields)).unwrap_err();
            assert!(refused.contains(words), "{fields}: {refused}");
        }
        let url = |url: &str| json!([{"type": "image_url", "image_url": {"url": url}}]);
        for (address, words) in [
            ("http://127.0.0.1/x.png", "is not fetched"),
            ("file:///etc/passwd", "is not fetched"),
            ("data:image/png;base64,***", "no base64"),
        ] {
            let refused = read(&with(&json!({"messages": [{"role": "user", "content": url(address)}]}))).unwrap_err();
            assert!(refused.contains(words) && refused.contains("messages[0].content[0]"), "{address}: {refused}");
        }
        let idle = json!({"logprobs": false, "tools": [], "frequency_penalty": 0, "response_format": {"type": "text"}, "user": "u"});
        assert!(read(&with(&idle)).unwrap().notes.is_empty());
        assert_eq!(read(&with(&json!({"typical_p": 1}))).unwrap().notes, ["not known and not used: typical_p"]);
    }
}
