//! What reads from outside: each with its seeds, the kind of changes, and what is done with what was read.

use hive::data::bpe::Bpe;
use hive::data::chat::{ChatTemplate, Message, TEMPLATE_FILES};
use hive::data::classes;
use hive::data::folder::Folder as List;
use hive::data::image::{Preprocess, Rgb};
use hive::data::rng::Rng;
use hive::data::tasks::load::{Files, load};
use hive::data::tasks::{self, Rules, Task};
use hive::data::tiles::Picture;
use hive::engine::Preset;
use hive::engine::runfile::RunFile;
use hive::model::config::Wiring;
use hive::model::files::{Checkpoint as Weights, Folder, ModelSpec, recipe};
use hive::model::model::Model;
use hive::model::weights;
use hive::platform::{Blob, block_on};
use hive::train::checkpoint::Checkpoint;
use serde_json::{Map, Value};

use super::seeds::{self, Seeds};
use super::{hub, mutate};

/// How seeds are changed.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Bytes,
    /// Bytes, or structure.
    Json,
    /// Bytes, or the structure of the metadata and of a part.
    Checkpoint,
    /// Of an object with files, bytes or structure of one of these.
    Files,
    /// Of an object with files, a character for each byte of them, one of these.
    Binary,
}

/// A reader.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) seeds: fn() -> Seeds,
    kind: Kind,
    /// Bytes that a case may take, and 64 more for each byte of the input.
    pub(crate) memory: i64,
    /// Was it taken?
    pub(crate) run: fn(&[u8]) -> bool,
}

/// Readers that are wrong on purpose: with a panic, with too much memory.
pub(crate) const WRONG: [Target; 2] = [
    target("panic", seeds::links, Kind::Bytes, 1, |_| panic!("on purpose")),
    target("memory", seeds::links, Kind::Bytes, 1, |input| vec![1_u8; 2_000_000 + input.len()].len() > 5),
];

const MB: i64 = 1_000_000;

const fn target(name: &'static str, seeds: fn() -> Seeds, kind: Kind, mb: i64, run: fn(&[u8]) -> bool) -> Target {
    Target { name, seeds, kind, memory: mb * MB, run }
}

/// All readers.
pub(crate) const TARGETS: [Target; 17] = [
    target("header", seeds::headers, Kind::Bytes, 4, header),
    target("config", seeds::configs, Kind::Json, 40, config),
    target("family", seeds::families, Kind::Json, 40, family),
    target("prompt", seeds::prompts, Kind::Json, 64, prompt),
    target("question set", seeds::question_sets, Kind::Files, 8, question_set),
    target("class set", seeds::class_sets, Kind::Binary, 170, class_set),
    target("tokenizer", seeds::tokenizers, Kind::Json, 20, tokenizer),
    target("template", seeds::templates, Kind::Json, 64, template),
    target("picture", seeds::pictures, Kind::Bytes, 170, picture),
    target("list", seeds::lists, Kind::Json, 8, list),
    target("checkpoint", seeds::checkpoints, Kind::Checkpoint, 40, checkpoint),
    target("run file", seeds::runs, Kind::Checkpoint, 40, run_file),
    target("preset", seeds::presets, Kind::Json, 40, preset),
    target("link", seeds::links, Kind::Bytes, 4, link),
    target("index", seeds::lines, Kind::Json, 8, index),
    target("hub list", seeds::hubs, Kind::Json, 30, hub::list),
    target("address", seeds::links, Kind::Bytes, 4, address),
];

impl Target {
    /// An input of this kind.
    pub(crate) fn input(&self, rng: &mut Rng) -> Vec<u8> {
        let all = (self.seeds)();
        let (seed, other) = (rng.pick(all), rng.pick(all));
        if rng.chance(0.02) {
            return seed.clone();
        }
        match self.kind {
            Kind::Json if rng.chance(0.6) => match serde_json::from_slice::<Value>(seed) {
                Ok(value) => mutate::json(&value, rng).to_string().into_bytes(),
                Err(_) => mutate::bytes(seed, other, rng),
            },
            Kind::Files => {
                let mut all: Value = serde_json::from_slice(seed).unwrap_or_default();
                let files = all.get_mut("files").and_then(Value::as_object_mut);
                let mut files: Vec<&mut Value> =
                    files.into_iter().flat_map(Map::values_mut).filter(|v| !v.is_null()).collect();
                let chosen = rng.below(files.len());
                let file = &mut files[chosen];
                **file = match &**file {
                    Value::String(old) => text(&mutate::bytes(old.as_bytes(), old.as_bytes(), rng)).into(),
                    value if rng.chance(0.7) => mutate::json(value, rng),
                    value => {
                        let old = value.to_string().into_bytes();
                        text(&mutate::bytes(&old, &old, rng)).into()
                    }
                };
                all.to_string().into_bytes()
            }
            Kind::Binary => {
                let mut all: Value = serde_json::from_slice(seed).unwrap_or_default();
                let files = all.get_mut("files").and_then(Value::as_object_mut);
                let mut files: Vec<&mut Value> = files.into_iter().flat_map(Map::values_mut).collect();
                let chosen = rng.below(files.len());
                let old = seeds::bytes(files[chosen]);
                *files[chosen] = seeds::characters(&mutate::bytes(&old, &old, rng));
                all.to_string().into_bytes()
            }
            Kind::Checkpoint if rng.chance(0.8) => {
                let (mut meta, mut parts) = seeds::opened(seed);
                let part = rng.below(parts.len() + 1);
                match parts.get_mut(part) {
                    None => meta = mutate::json(&meta, rng),
                    Some((_, bytes)) => *bytes = part_of(bytes, rng),
                }
                let parts: Vec<(&str, Vec<u8>)> = parts.iter().map(|(n, b)| (n.as_str(), b.clone())).collect();
                seeds::checkpoint(&meta, &parts)
            }
            _ => match mutate::bytes(seed, other, rng) {
                png if png.starts_with(b"\x89PNG") && rng.chance(0.8) => mutate::with_checks(png),
                bytes => bytes,
            },
        }
    }
}

/// A part of a run file: JSON, or a line of JSON before bytes.
fn part_of(bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
    let end = bytes.iter().position(|b| *b == b'\n').unwrap_or(bytes.len());
    match serde_json::from_slice::<Value>(&bytes[..end]) {
        Ok(value) if rng.chance(0.7) => [mutate::json(&value, rng).to_string().as_bytes(), &bytes[end..]].concat(),
        _ => mutate::bytes(bytes, bytes, rng),
    }
}

fn text(input: &[u8]) -> String {
    String::from_utf8_lossy(input).into_owned()
}

fn header(input: &[u8]) -> bool {
    let blob = Blob::memory("model.safetensors", input.to_vec());
    let folder = Folder::new([blob]).unwrap();
    let opened = block_on(Weights::open(&folder)).is_ok();
    weights::parse(input).is_ok() && opened
}

fn config(input: &[u8]) -> bool {
    let Ok(spec) = ModelSpec::read(&text(input), None) else { return false };
    // Names and shapes are made before any weight is looked at.
    Model::new(&spec.config, spec.kind).1.len() > 1
}

/// Configuration and processor of a vision-language model, and what becomes of pictures of several sizes.
fn family(input: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<Value>(input) else { return false };
    let file = |name: &str| Blob::memory(name, value[name].to_string().into_bytes());
    let names = ["preprocessor_config.json", "processor_config.json"];
    let folder = Folder::new(names.into_iter().filter(|name| value.get(*name).is_some()).map(file)).unwrap();
    let Ok(spec) = ModelSpec::read(&value["config.json"].to_string(), None) else { return false };
    let Ok(recipe) = block_on(recipe(&folder, &spec)) else { return false };
    let side = spec.config.image_rows().isqrt();
    for size in [[1, 20_000], [480, 640], [7, 5]] {
        for alone in [true, false] {
            let (squares, grid) = recipe.squares(size, alone);
            let picture = Picture { squares, grid, size, ..Picture::default() };
            let rows = recipe.rows(&picture, side, 0);
            let last = squares * side * side;
            assert!(rows.len() <= recipe.most_rows(side), "{} rows of {size:?}", rows.len());
            assert!(rows.iter().all(|row| row.taps.iter().all(|tap| *tap as usize <= last)), "{size:?}");
        }
    }
    // Small ones whole.
    if recipe.most_pixels() <= 40_000 {
        let picture = Rgb { width: 9, height: 31, data: vec![77; 9 * 31 * 3] };
        let made = recipe.picture(&picture, true);
        assert_eq!((made.squares, made.grid), recipe.squares([31, 9], true));
    }
    true
}

/// A conversation about two pictures, by template, tags and tokenizer of a vision-language model.
fn prompt(input: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<Value>(input) else { return false };
    let text = |name: &str| match value.get(name)? {
        Value::String(text) => Some(text.clone()),
        json => Some(json.to_string()),
    };
    let file =
        Blob::memory("preprocessor_config.json", text("preprocessor_config.json").unwrap_or_default().into_bytes());
    let folder = Folder::new([file]).unwrap();
    let Ok(spec) = ModelSpec::read(&text("config.json").unwrap_or_default(), None) else { return false };
    let Ok(recipe) = block_on(recipe(&folder, &spec)) else { return false };
    let Ok(mut bpe) = Bpe::from_json(&text("tokenizer.json").unwrap_or_default()) else { return false };
    bpe.add(&spec.family.added);
    let settings = text("tokenizer_config.json");
    let named = TEMPLATE_FILES.into_iter().find_map(|name| Some((name, text(name)?)));
    let Ok(template) = ChatTemplate::from_folder(settings.as_deref(), named.as_ref().map(|(n, t)| (*n, t.as_str())))
    else {
        return false;
    };
    let messages = [Message::about("what is it ?", 1), Message::new("assistant", "a"), Message::about("and this ?", 1)];
    let (rows, side) = (spec.config.image_rows(), spec.config.image_rows().isqrt());
    let picture = |size: [usize; 2]| {
        let (squares, grid) = recipe.squares(size, false);
        Picture { squares, grid, size, ..Picture::default() }
    };
    let pictures = [picture([48, 64]), picture([7, 300])];
    let Ok(head) = spec.family.tags.head(&pictures, rows) else { return false };
    let Ok(said) = template.render(&messages, true) else { return false };
    let token = match &spec.family.image_token {
        Some(name) => bpe.id(name),
        None => spec.image_token.filter(|id| bpe.token(*id).is_some()),
    };
    let Ok(placed) = spec.family.tags.place(&(head + &said), &pictures, &recipe, side, &bpe, token) else {
        return false;
    };
    assert!(placed.rows.windows(2).all(|two| two[0].0 < two[1].0), "positions rise");
    assert!(placed.rows.iter().all(|(at, _)| *at < placed.ids.len()), "positions are those of ids");
    true
}

/// A question set of some form: loaded, asked, and answered.
fn question_set(input: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<Value>(input) else { return false };
    let Some(task) = Task::ALL.into_iter().find(|task| value["task"] == task.name()) else { return false };
    let Some(all) = value["files"].as_object() else { return false };
    let read = |name: &str| match &all[name] {
        Value::Null => Ok(seeds::pictures()[0].clone()),
        Value::String(text) => Ok(text.clone().into_bytes()),
        json => Ok(json.to_string().into_bytes()),
    };
    let files = Files::new(all.keys().cloned(), &read);
    let Ok(set) = load(task, &files) else { return false };
    let answers = ["yes", "A. no", "1,000 . the dogs' <think>x</think>", ""];
    let mut readings = Vec::new();
    for (entry, answer) in set.entries.iter().zip(answers.into_iter().cycle()) {
        drop((task.prompt(&entry.item), task.key(&entry.item)));
        let read = |rules| tasks::read(task, rules, &entry.item, answer).ok();
        readings.push(Rules::ALL.map(read));
        drop(entry.picture.as_ref().map(|place| place.decode(&files)));
    }
    for (i, rules) in Rules::ALL.into_iter().enumerate() {
        let read: Vec<_> =
            set.entries.iter().zip(&readings).map(|(entry, all)| (&entry.item, all[i].as_ref())).collect();
        drop(tasks::totals(task, rules, &read));
    }
    true
}

/// A set of pictures of some form: found, loaded, divided, and decoded.
fn class_set(input: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<Value>(input) else { return false };
    let Some(all) = value["files"].as_object() else { return false };
    let read = |name: &str| Ok(seeds::bytes(&all[name]));
    let files = Files::new(all.keys().cloned(), &read);
    let Ok(found) = classes::Kind::found(&files) else { return false };
    assert_eq!(value["set"], found.name());
    let Ok(mut set) = classes::load(found, &files) else { return false };
    assert!(set.pictures.iter().all(|picture| picture.class < set.classes.len()));
    if !set.divided {
        set.hold_out(3);
    }
    let decode = |picture: &classes::Picture| {
        let place = &picture.place;
        place.bytes(&files).and_then(|bytes| place.picture(&bytes, None)).map(|rgb| rgb.data.len())
    };
    set.pictures.iter().filter(|picture| decode(picture).is_ok()).count() > 0
}

fn tokenizer(input: &[u8]) -> bool {
    let Ok(bpe) = Bpe::from_json(&text(input)) else { return false };
    let ids = bpe.encode("abc ab <s> what is the red square ? 🙂", true);
    let mut stream = bpe.stream();
    let streamed: String = ids.iter().map(|id| stream.push(*id)).collect();
    drop((streamed, stream.finish(), bpe.decode(&ids), bpe.decode(&[u32::MAX, 3]), bpe.token(u32::MAX)));
    true
}

fn template(input: &[u8]) -> bool {
    let Ok(template) = ChatTemplate::from_files(Some(&text(input)), None) else { return false };
    let messages =
        [Message::new("system", "short"), Message::question("what is it ?", true), Message::new("assistant", "a")];
    let taken: Vec<bool> = (1..=3).map(|n| template.render(&messages[..n], true).is_ok()).collect();
    taken.contains(&true)
}

fn picture(input: &[u8]) -> bool {
    Preprocess::on_white(32).decode(input, "a picture").is_ok_and(|pixels| pixels.len() == 3 * 32 * 32)
}

fn list(input: &[u8]) -> bool {
    let Ok((folder, mut problems)) = List::load(&text(input), "list.json") else { return false };
    drop(problems.first.iter().map(ToString::to_string).collect::<Vec<_>>());
    let png = &seeds::pictures()[0];
    let preprocess = Preprocess::on_white(8);
    let by = hive::data::folder::SplitBy::Picture;
    let read = |_: &str| Ok(png.clone());
    let Ok(folder) = folder.check_pictures(&mut problems, by, &preprocess, &read, &mut |_, _| true) else {
        return false;
    };
    for split in [hive::data::worlds::Split::Train, hive::data::worlds::Split::HeldOut] {
        if folder.size(split) > 0 {
            let _ = folder.sample(split, 1, 3, 4, &preprocess, &read);
        }
    }
    true
}

fn checkpoint(input: &[u8]) -> bool {
    Checkpoint::from_bytes(input).is_ok_and(|c| sizes(&c))
}

/// What whoever opens a checkpoint asks first: which tensors it must have.
fn sizes(c: &Checkpoint) -> bool {
    let (_, specs) = Model::new(&c.meta.model, c.meta.preset.wiring);
    let words = c.meta.tokenizer.encode("what is the red square ?");
    drop(c.meta.tokenizer.decode(&words));
    specs.iter().all(|s| c.weights.get(&s.name).is_none_or(|w| w.len() == s.len()))
}

fn run_file(input: &[u8]) -> bool {
    let Ok(file) = RunFile::unpack(input) else { return false };
    sizes(&file.hive);
    let control = file.control.as_ref().is_none_or(sizes);
    let Some(log) = file.log else { return true };
    for i in 0..log.snapshots.len() {
        let Some((_, maps)) = log.snapshots.get(i) else { continue };
        for layer in 0..maps.layers.len() {
            for head in (0..maps.heads).map(Some).chain([None]) {
                (0..maps.tokens.len()).for_each(|token| drop(maps.map(layer, head, token)));
            }
        }
    }
    serde_json::to_vec(&log).is_ok() && control
}

fn preset(input: &[u8]) -> bool {
    let Ok(mut preset) = Preset::parse(&text(input)) else { return false };
    drop(preset.set_links("paper"));
    drop(preset.set_links("1,2,99999999999"));
    let specs = Model::new(&preset.model, preset.wiring).1;
    let _ = hive::engine::assets::made_source(&preset).map(|source| {
        let (tokens, turns) = (preset.tokens.min(64), preset.turns);
        drop(source.conversation(0, 2, tokens, turns));
        drop(source.text(1 << 40, 1, tokens, turns));
    });
    preset.wiring == Wiring::Flattened || !specs.is_empty()
}

fn index(input: &[u8]) -> bool {
    let weights = &seeds::headers()[0];
    let blobs = [
        Blob::memory("model.safetensors.index.json", input.to_vec()),
        Blob::memory("model-1.safetensors", weights.clone()),
    ];
    let folder = Folder::new(blobs).unwrap();
    block_on(Weights::open(&folder)).is_ok()
}

fn address(input: &[u8]) -> bool {
    let text = text(input);
    let address = hive::engine::fetch::Address::parse(&text);
    address.is_ok_and(|address| {
        !address.key(hive::engine::fetch::ENDPOINT).is_empty()
            && !address.key(hive::engine::fetch::ENDPOINT).contains('/')
    })
}

#[cfg(feature = "gui")]
fn link(input: &[u8]) -> bool {
    use hive::app::permalink::Permalink;
    let (link, complaints) = Permalink::parse(&text(input));
    // What is understood is said again in the same way.
    assert_eq!(Permalink::parse(&link.to_hash()).0.to_hash(), link.to_hash());
    assert!(complaints.len() < 10 && complaints.iter().all(|c| c.chars().count() < 900));
    let mut state = hive::app::AppState::default();
    hive::app::restore::apply_link(&mut state, &link, &mut Vec::new());
    // The example that it names is drawn.
    let example = link.example.unwrap_or(0);
    let sample = hive::data::dataset::Dataset::Grounds.sample(hive::data::worlds::Split::HeldOut, 0, example, 1);
    link.preset.is_some() && !sample.turns.is_empty()
}

#[cfg(not(feature = "gui"))]
fn link(_: &[u8]) -> bool {
    // Links belong to the window.
    true
}
