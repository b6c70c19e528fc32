//! `hive ask` and `hive chat`: models from folders of Hugging Face's files, and those that this program trained.

use std::io::BufRead as _;
use std::path::Path;

use serde_json::json;

use super::args::Args;
use super::photos::{form, say_cost, seen, squares};
use super::progress::Progress;
use super::shared::{self, png};
use super::{Fault, fetch, open_gpu, say, warn};
use crate::data::chat::{Message, said};
use crate::data::dataset::Dataset;
use crate::data::rng::{hash_bytes, splitmix64};
use crate::data::tiles::{Picture, Recipe};
use crate::data::worlds::Split;
use crate::engine::answers::assistant::{Assistant, End, Options, Piece, Reply};
use crate::engine::answers::open::{ModelFolder, OpenError, of_checkpoint, preprocess_of};
use crate::gpu::Gpu;
use crate::model::decode::Made;
use crate::model::files::Folder;
use crate::model::load::{self, Formats};
use crate::model::model::Wiring;
use crate::ops::packed::Format;
use crate::ops::sample::Settings;
use crate::platform::{self, block_on};
use crate::train::checkpoint::{Checkpoint, Meta};

/// Options of every command that loads a model.
const MODEL: [&str; 4] = ["model", "weights", "room", "memory"];
/// Options of every command that makes text.
const TEXT: [&str; 10] =
    ["limit", "temperature", "top-k", "top-p", "min-p", "repetition-penalty", "stop", "system", "image", "tiles"];

/// What `--help` says of both.
const OPTIONS: &str = "\
  --model FOLDER|ID          config.json, *.safetensors (also in shards), tokenizer.json; or what hive fetch got
  --weights FORMAT           f32, f16 (default), int8 or int4 on the GPU
  --room N                   tokens of question and answer together (default 1024, and those of a picture that is cut)
  --memory MIB               refuse what needs more GPU memory, and say what would fit
  --limit N                  most tokens of an answer (default 256)
  --temperature T            0 (default): always the likeliest token
  --top-k N  --top-p P  --min-p P  --repetition-penalty X  --seed N
  --stop TEXT                ends the answer; can be given several times
  --system TEXT              the system message
  --tiles 1                  one square for each picture, where a model cuts pictures into many: fast, but small things are lost
";

const ASK_HELP: &str = "\
hive ask IMAGE... QUESTION [--model NAME|FILE|FOLDER|ID] [--cut] [--as markdown|html]

Asks a model about a picture (PNG, JPEG or WebP), or about several where it was trained for that, with the options of hive chat.
--model is a shipped model (grounds, pictures, shapes), a checkpoint file, a folder with Hugging Face's files, or the id of a model
that hive fetch got; default grounds. Where the model knows text alone there is no IMAGE. IMAGE can also be held-out:N, a held-out
picture of the data that the model was trained on, which is then saved beside you as held-out-N.png. The shipped models know a
small world; hive ask --model NAME --help lists its words. --cut asks again with each link of the model cut in turn: that layer
sees no picture, and the answer shows what it was for. --as makes Markdown or HTML of an answer in DocTags (granite-docling).
";

const CHAT_HELP: &str = "\
hive chat --model NAME|FILE|FOLDER|ID [--image PICTURE]

Talks with a model, line by line. /image FILE shows it another picture (a further one, where it takes several), /new begins again,
/quit or end of input leaves.

";

fn failed(e: &OpenError) -> Fault {
    Fault::Failed(e.to_string())
}

/// A folder of files, or a fetched model.
pub(super) fn open(path: &str) -> Result<ModelFolder, Fault> {
    let folder = Folder::new(fetch::blobs(path)?).map_err(|e| Fault::Failed(e.to_string()))?;
    block_on(ModelFolder::open(&folder)).map_err(|e| failed(&e))
}

pub(super) fn format_of(args: &Args) -> Result<Format, Fault> {
    let name = args.option("weights").unwrap_or("f16");
    Format::named(name).ok_or_else(|| Fault::usage(format!("--weights is f32, f16, int8 or int4, not \"{name}\"")))
}

/// Loads with a line of progress; `room` is the requested where the arguments have none.
pub(super) fn load(args: &Args, gpu: &Gpu, room: Option<usize>) -> Result<Assistant, Fault> {
    let path = args.option("model").ok_or_else(|| Fault::usage("--model FOLDER is needed"))?;
    load_opened(args, gpu, room, &open(path)?)
}

fn load_opened(args: &Args, gpu: &Gpu, room: Option<usize>, source: &ModelFolder) -> Result<Assistant, Fault> {
    if !source.extra.is_empty() {
        warn(&format!("{} tensors are not used: {}\n", source.extra.len(), shortened(&source.extra)));
    }
    // Whoever chooses tokens otherwise knows what he does.
    let options = ["temperature", "top-k", "top-p", "min-p", "repetition-penalty"];
    if !source.spec.asked.is_empty() && !options.iter().any(|o| args.option(o).is_some()) {
        warn(&format!("{}\n", source.asked()));
    }
    let formats = Formats::of(format_of(args)?);
    let room = source.room(args.number("room")?.or(room));
    let memory = args.number::<u64>("memory")?.map(|mib| mib << 20);
    let (mut progress, mut total) = (Progress::new(), 0);
    let tell = |p: load::Progress| {
        total = p.total;
        progress.bytes("loading", p.done, p.total);
        true
    };
    let assistant = block_on(source.load(gpu, formats, room, memory, tell)).map_err(|e| failed(&e))?;
    progress.end(&format!("{} MB loaded", total / 1_000_000));
    Ok(assistant)
}

fn shortened(names: &[String]) -> String {
    let mut text = names.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > 5 {
        text.push_str(", ...");
    }
    text
}

fn options(args: &Args) -> Result<Options, Fault> {
    let default = Settings::default();
    let sampling = Settings {
        temperature: args.number("temperature")?.unwrap_or(default.temperature),
        top_k: args.number("top-k")?.unwrap_or(default.top_k),
        top_p: args.number("top-p")?.unwrap_or(default.top_p),
        min_p: args.number("min-p")?.unwrap_or(default.min_p),
        repetition_penalty: args.number("repetition-penalty")?.unwrap_or(default.repetition_penalty),
        seed: args.number("seed")?.unwrap_or(default.seed),
    };
    sampling.check().map_err(Fault::usage)?;
    let limit = args.number("limit")?.unwrap_or(Options::default().limit);
    Ok(Options { sampling, limit, stop: args.all("stop").map(str::to_owned).collect() })
}

fn reply(
    assistant: &mut Assistant,
    messages: &[Message],
    pictures: &[Picture],
    options: &Options,
    quiet: bool,
) -> Result<Reply, Fault> {
    let told = |piece: Piece<'_>| {
        if !quiet {
            say(piece.text);
        }
        true
    };
    let reply = block_on(assistant.reply(messages, pictures, options, told))?;
    let tail = match reply.end {
        End::Limit => format!(", cut at --limit {}", options.limit),
        End::Full => format!(", cut at --room {}", assistant.decoder().room()),
        End::EndToken | End::Stop | End::Cancelled => String::new(),
    };
    if !quiet {
        say("\n");
        warn(&format!(
            "({} tokens read, {} made{tail}; first after {:.2} s, then {:.1} a second)\n",
            reply.prompt,
            reply.tokens.len(),
            reply.first_secs,
            reply.rate()
        ));
    }
    Ok(reply)
}

/// A reply to as many of the last turns as there is room for: the oldest are dropped, and that is said.
fn reply_within(
    assistant: &mut Assistant,
    messages: &mut Vec<Message>,
    pictures: &[Picture],
    options: &Options,
) -> Result<Reply, Fault> {
    let (mut dropped, mut shorter) = (0, messages.clone());
    // An answer of a word or two is none.
    let fits = |all: &[Message]| assistant.has_room(all, pictures, options.limit.clamp(1, 16));
    while !fits(&shorter)? && drop_oldest(&mut shorter) {
        dropped += 1;
    }
    // Where not even the last question fits, everything stays, and the model says why.
    if dropped > 0 && fits(&shorter)? {
        let room = assistant.decoder().room();
        warn(&format!(
            "(the conversation fills the room of {room} tokens: the oldest {dropped} of its questions and answers are forgotten; /new begins again, --room N gives more)\n"
        ));
        *messages = shorter;
    }
    reply(assistant, messages, pictures, options, false)
}

/// Drops the first question and its answer where another follows, which then shows the pictures.
fn drop_oldest(messages: &mut Vec<Message>) -> bool {
    let users: Vec<usize> = (0..messages.len()).filter(|i| messages[*i].role == "user").collect();
    let [first, second, ..] = users[..] else { return false };
    let (shown, _) = said(&messages[first].content);
    let (own, text) = said(&messages[second].content);
    let next = Message::about(&text, shown + own);
    messages[second] = next;
    messages.drain(first..second);
    true
}

/// The model of the arguments, not yet on a GPU: what a picture takes while it is decoded and what a driver takes are never
/// taken at once.
pub(super) enum Chosen {
    Folder(Box<ModelFolder>),
    /// One that this program trained.
    Trained(Box<Checkpoint>),
}

impl Chosen {
    pub(super) fn of(args: &Args) -> Result<Self, Fault> {
        let name = args.option("model").unwrap_or("grounds");
        let single = match args.option("tiles") {
            None => false,
            Some("1") => true,
            Some(other) => return Err(Fault::usage(format!("--tiles is 1 or left out, not {other}"))),
        };
        if platform::is_folder(name) || fetch::is_name(name) {
            let mut folder = open(name)?;
            if single {
                folder.single();
            }
            return Ok(Self::Folder(Box::new(folder)));
        }
        Ok(Self::Trained(Box::new(shared::load(name)?)))
    }

    pub(super) fn recipe(&self) -> Option<Recipe> {
        match self {
            Self::Folder(folder) => folder.recipe().cloned(),
            Self::Trained(checkpoint) => preprocess_of(checkpoint).map(Recipe::from),
        }
    }

    /// Does it take any number of pictures? A model with links has one, before all that is said.
    pub(super) fn takes_several(&self) -> bool {
        match self {
            Self::Folder(folder) => folder.spec.kind == Wiring::Flattened && folder.spec.background.is_none(),
            Self::Trained(_) => false,
        }
    }

    /// A number for the model: of a folder by names, sizes and both ends of its files, of a checkpoint by all of its weights.
    pub(super) fn fingerprint(&self, args: &Args) -> Result<u64, Fault> {
        const END: usize = 1 << 16;
        let mut sum = 0;
        let mut add = |bytes: &[u8]| sum = splitmix64(sum ^ hash_bytes(bytes));
        match self {
            Self::Trained(checkpoint) => {
                add(json!(checkpoint.meta).to_string().as_bytes());
                checkpoint.weights.values().for_each(|values| add(bytemuck::cast_slice(values)));
            }
            Self::Folder(_) => {
                let mut blobs = fetch::blobs(args.option("model").unwrap_or_default())?;
                blobs.sort_by(|a, b| a.name().cmp(b.name()));
                for blob in blobs {
                    add(format!("{} {}", blob.name(), blob.len()).as_bytes());
                    let size = END.min(blob.len() as usize);
                    for start in [0, blob.len() - size as u64] {
                        add(&block_on(blob.read(start, size)).map_err(Fault::Failed)?);
                    }
                }
            }
        }
        Ok(sum)
    }

    fn folder(&self) -> Option<&ModelFolder> {
        if let Self::Folder(folder) = self { Some(folder) } else { None }
    }

    /// What is known of it where this program trained it.
    pub(super) fn meta(&self) -> Option<&Meta> {
        match self {
            Self::Folder(_) => None,
            Self::Trained(checkpoint) => Some(&checkpoint.meta),
        }
    }

    pub(super) fn start(&self, args: &Args) -> Result<Assistant, Fault> {
        let gpu = open_gpu(args)?;
        match self {
            Self::Folder(folder) => load_opened(args, &gpu, None, folder),
            Self::Trained(checkpoint) => Ok(block_on(of_checkpoint(&gpu, checkpoint))?),
        }
    }
}

/// The answer with each link cut in turn: layer, the depth that it reads, the answer.
fn with_links_cut(
    assistant: &Assistant,
    messages: &[Message],
    pictures: &[Picture],
    options: &Options,
) -> Result<Vec<(usize, usize, Reply)>, Fault> {
    let links = &assistant.decoder().model().config().link_config;
    let pairs = links.language_layers.iter().zip(&links.vision_layers);
    pairs
        .map(|(layer, depth)| {
            let mut cut = block_on(assistant.without(&[*layer]))?;
            Ok((*layer, *depth, reply(&mut cut, messages, pictures, options, true)?))
        })
        .collect()
}

/// Pixels of `held-out:N`, a picture of the data that a model was trained on, which is written beside the user.
fn held_out(n: &str, meta: &Meta) -> Result<Vec<f32>, Fault> {
    let index = n.parse().map_err(|_unparsed| Fault::usage(format!("held-out:N needs a number, not \"{n}\"")))?;
    let dataset = Dataset::by_name(&meta.preset.data)
        .ok_or_else(|| Fault::usage("this model was trained on a folder; give a picture"))?;
    let sample = dataset.sample(Split::HeldOut, 0, index, 1);
    let path = format!("held-out-{n}.png");
    super::write(Path::new(&path), &png(&sample.pixels, meta.model.vision_config.image_size)?)?;
    warn(&format!("wrote {path}; its own question: {}\n", sample.turns.first().map_or("", |t| &t.question)));
    Ok(sample.pixels)
}

/// `hive ask`.
pub fn ask(list: &[String]) -> Result<(), Fault> {
    let args = Args::parse(list, &[options_of_text(), vec!["as"]].concat(), &["cut"])?;
    let form = form(&args)?;
    let name = args.option("model").unwrap_or("grounds");
    let trained = !platform::is_folder(name) && !fetch::is_name(name);
    if args.flag("help") {
        say(ASK_HELP);
        if trained {
            let words = shared::load(name)?.meta.tokenizer.words()[4..].join(" ");
            say(&format!("\nwords of {name}: {words}\n"));
        }
        return Ok(());
    }
    let needs = |what: &str| Fault::usage(format!("hive ask needs {what}"));
    let picture = "an image and a question, as in: hive ask dog.png \"what is it ?\"";
    if trained && args.words().len() < 2 {
        return Err(needs(picture));
    }
    let options = options(&args)?;
    let chosen = Chosen::of(&args)?;
    let (meta, recipe) = (chosen.meta(), chosen.recipe());
    let sees = recipe.is_some();
    let words = args.words();
    let shown = words.first().filter(|w| !sees && Path::new(w).is_file() && words.len() > 1);
    if let Some(picture) = shown {
        return Err(Fault::Failed(format!("this model takes no pictures: leave {picture} out")));
    }
    // Of a model that takes several: all files before the question.
    let files = words.iter().take_while(|w| Path::new(w).is_file()).count();
    let count = if chosen.takes_several() { files } else { usize::from(sees) };
    let (image, question) = words.split_at(count.min(words.len()));
    if question.is_empty() {
        return Err(needs(if sees { picture } else { "a question" }));
    }
    let held_out_index = image.first().and_then(|image| image.strip_prefix("held-out:"));
    let pictures = match (held_out_index, meta) {
        (Some(n), Some(meta)) => vec![Picture::of(&held_out(n, meta)?)],
        _ => {
            let all = image.iter().map(|image| seen(recipe.as_ref(), image)).collect::<Result<Vec<_>, _>>()?;
            squares(recipe.as_ref(), &all)
        }
    };
    say_cost(chosen.folder(), &pictures);
    let mut assistant = chosen.start(&args)?;
    if args.flag("cut") && assistant.decoder().model().links().is_empty() {
        return Err(Fault::Failed("this model has no links to cut: leave --cut out".into()));
    }
    let mut question = question.join(" ");
    let mut unknown = Vec::new();
    if let Some(meta) = meta {
        question = asked(question);
        unknown = meta.tokenizer.unknown(&question);
    }
    if !unknown.is_empty() {
        let list = unknown.join(", ");
        warn(&format!("the model does not know: {list}. hive ask --model {name} --help lists its words\n"));
    }
    let mut messages: Vec<Message> = args.option("system").map(|s| Message::new("system", s)).into_iter().collect();
    messages.push(Message::about(&question, pictures.len()));
    let quiet = args.flag("json") || form.is_some();
    let whole = reply(&mut assistant, &messages, &pictures, &options, quiet)?;
    if let Some(form) = form.filter(|_| !args.flag("json")) {
        say(&form(&whole.text));
    }
    let cut = if args.flag("cut") { with_links_cut(&assistant, &messages, &pictures, &options)? } else { Vec::new() };
    for (layer, depth, reply) in cut.iter().filter(|_| !args.flag("json")) {
        let changed = if reply.text == whole.text { "" } else { "  <- another answer" };
        say(&format!("without the link of layer {} (depth {depth}): {}{changed}\n", layer + 1, reply.text));
    }
    if args.flag("json") {
        let word =
            |t: &Made| json!({"word": assistant.decode(&[t.token]), "token": t.token, "probability": t.probability});
        let words: Vec<_> = whole.tokens.iter().map(word).collect();
        let cut: Vec<_> =
            cut.iter().map(|(layer, depth, r)| json!({"layer": layer, "depth": depth, "answer": r.text})).collect();
        say(&format!(
            "{}\n",
            json!({"question": question, "answer": whole.text, "words": words, "tokens": words, "unknown": unknown,
                "tokens_per_second": whole.rate(), "cut": cut})
        ));
    }
    Ok(())
}

/// What is said to a model that this program trained: such questions end in a mark.
pub(super) fn asked(question: String) -> String {
    if question.trim_end().ends_with('?') { question } else { question + " ?" }
}

/// What a model is called: its id, or the last part of its path, as the rest of that is nobody's business but its owner's.
pub(super) fn called(model: &str) -> String {
    let path = Path::new(model);
    let last = path.file_name().filter(|_| path.exists());
    last.map_or_else(|| model.to_owned(), |name| name.to_string_lossy().into_owned())
}

fn options_of_text() -> Vec<&'static str> {
    MODEL.into_iter().chain(TEXT).collect()
}

/// `hive chat`.
pub fn chat(list: &[String]) -> Result<(), Fault> {
    let help = format!("{CHAT_HELP}{OPTIONS}");
    let Some(args) = Args::or_help(list, (0, &options_of_text()), &[], &help)? else { return Ok(()) };
    let options = options(&args)?;
    let chosen = Chosen::of(&args)?;
    let (recipe, several) = (chosen.recipe(), chosen.takes_several());
    let mut shown =
        args.option("image").map(|image| seen(recipe.as_ref(), image)).transpose()?.map_or(vec![], |p| vec![p]);
    // Pictures that no question was asked about yet.
    let mut new = shown.len();
    let mut assistant = chosen.start(&args)?;
    // The weights of a checkpoint are on the GPU now; of a folder there are headers alone.
    let folder = if let Chosen::Folder(folder) = chosen { Some(folder) } else { None };
    say_cost(folder.as_deref(), &squares(recipe.as_ref(), &shown));
    let start = || args.option("system").map(|s| Message::new("system", s)).into_iter().collect::<Vec<_>>();
    let mut messages = start();
    if recipe.is_some() && shown.is_empty() {
        warn("this model talks about pictures: /image FILE shows it one\n");
    }
    let mut input = std::io::stdin().lock();
    loop {
        let mut line = Vec::new();
        let read = input.read_until(b'\n', &mut line);
        if read.map_err(|e| Fault::Failed(format!("cannot read standard input: {e}")))? == 0 {
            break;
        }
        let Ok(line) = String::from_utf8(line) else {
            warn("a line that is not UTF-8 was left out: save the text as UTF-8\n");
            continue;
        };
        match line.trim() {
            "" => {}
            "/quit" => break,
            "/new" => {
                messages = start();
                // One picture stays, as long as no other is shown.
                shown.drain(..shown.len().saturating_sub(1));
                new = shown.len();
            }
            command if command.starts_with("/image ") => match seen(recipe.as_ref(), command[7..].trim()) {
                Ok(picture) if several => {
                    say_cost(folder.as_deref(), &squares(recipe.as_ref(), std::slice::from_ref(&picture)));
                    shown.push(picture);
                    new += 1;
                }
                Ok(picture) => (shown, new, messages) = (vec![picture], 1, start()),
                Err(e) => warn(&format!("{e}\n")),
            },
            text => {
                if recipe.is_some() && !several && shown.is_empty() {
                    warn("first show it a picture: /image FILE\n");
                    continue;
                }
                messages.push(Message::about(text, new));
                let picture = squares(recipe.as_ref(), &shown);
                match reply_within(&mut assistant, &mut messages, &picture, &options) {
                    Ok(reply) => {
                        messages.push(Message::new("assistant", reply.text));
                        new = 0;
                    }
                    Err(e) => {
                        messages.pop();
                        warn(&format!("{e}. /new begins a new conversation\n"));
                    }
                }
            }
        }
    }
    Ok(())
}
