//! Exported models: `transformers` computed from these very bytes what is expected of them (`tests/export/expect.py`), and the
//! whole model answers as the checkpoint does.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::common::{bits, difference, done, drawn, gpu, preset, repository, source, start_file};
use hive::data::bpe::Bpe;
use hive::data::chat::{ChatTemplate, Message};
use hive::data::dataset::Dataset;
use hive::data::rng::hash_bytes;
use hive::data::tiles::Picture;
use hive::data::tokenizer::START;
use hive::data::worlds::Split;
use hive::engine::answers::assistant::Options;
use hive::engine::answers::open::{ModelFolder, of_checkpoint};
use hive::engine::assets;
use hive::engine::convert::{Conversion, ConvertError, Origin, Request};
use hive::gpu::{DType, Gpu, Recorder};
use hive::model::decode::{Decoder, Prompt};
use hive::model::export::Part;
use hive::model::files::{Checkpoint, FileDType, Folder, ModelSpec, resolve};
use hive::model::load::{Formats, load};
use hive::model::model::{Model, Wiring};
use hive::model::registry::Registry;
use hive::model::vision::Vision;
use hive::model::weights::{HostTensors, Precision, parse};
use hive::nn::Params;
use hive::nn::params::Weights;
use hive::ops::packed::Format;
use hive::ops::sample::Settings;
use hive::platform::{Blob, block_on, folder_blobs, read_file};
use hive::train::checkpoint::{Checkpoint as Run, FORMAT, Meta};
use hive::train::recipe::Preset;
use serde_json::Value;

/// Largest difference from what transformers computes, as max |a - b| / max |b|: rounding of f32 alone.
const TOLERANCE: f64 = 2e-5;

type Files = BTreeMap<String, Vec<u8>>;

fn written(conversion: &Conversion) -> Result<Files, ConvertError> {
    let mut files = Files::new();
    for file in &conversion.files {
        let mut bytes = Vec::new();
        block_on(conversion.write(file, &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        }))?;
        assert_eq!(bytes.len() as u64, file.bytes(), "{}", file.path);
        assert!(files.insert(file.path.clone(), bytes).is_none(), "{} twice", file.path);
    }
    Ok(files)
}

fn converted(origin: Origin, request: Request) -> Result<Files, ConvertError> {
    written(&block_on(Conversion::open(origin, request))?)
}

fn run_file(bytes: &[u8]) -> Origin {
    Origin::File(Blob::memory("checkpoint.safetensors", bytes))
}

fn export(name: &str) -> Files {
    converted(run_file(block_on(assets::model_bytes(name, |_, _| ())).unwrap()), Request::default()).unwrap()
}

/// The files of one folder, not of those inside it.
fn folder(files: &Files, inside: &str) -> Folder {
    let own = files.iter().filter_map(|(path, bytes)| {
        let (at, name) = path.rsplit_once('/').unwrap_or(("", path));
        (at == inside).then(|| Blob::memory(name, bytes.as_slice()))
    });
    Folder::new(own).unwrap()
}

fn fixture(name: &str) -> Folder {
    Folder::new(folder_blobs(repository(&format!("tests/fixtures/{name}"))).unwrap()).unwrap()
}

fn expected() -> (Value, HostTensors) {
    let read = |name: &str| read_file(&repository(&format!("tests/export/{name}"))).unwrap();
    (serde_json::from_slice(&read("expect.json")).unwrap(), parse(&read("io.safetensors")).unwrap())
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect()
}

#[test]
fn the_files_are_those_that_transformers_opened() {
    let files = export("shapes");
    let got: BTreeMap<String, String> =
        files.iter().map(|(path, bytes)| (path.clone(), format!("{:016x}", hash_bytes(bytes)))).collect();
    let want: BTreeMap<String, String> = serde_json::from_value(expected().0["files"].clone()).unwrap();
    assert_eq!(got, want, "run `hive convert shapes FOLDER` and `tests/export/expect.py FOLDER` again");
    // Not a bit of a weight changed.
    let run = Run::from_bytes(block_on(assets::model_bytes("shapes", |_, _| ())).unwrap()).unwrap();
    let whole = parse(&files["model.safetensors"]).unwrap();
    assert_eq!(whole.len(), run.weights.len());
    for (name, tensor) in whole {
        assert_eq!(bits(&tensor.values), bits(&run.weights[&name]), "{name}");
    }
}

#[test]
fn tokenizer_and_template_give_what_transformers_gives() {
    let (expect, _) = expected();
    for inside in ["", "language_model"] {
        let folder = folder(&export("shapes"), inside);
        let text = |name: &str| block_on(folder.required_text(name)).unwrap();
        let tokenizer = Bpe::from_json(&text("tokenizer.json")).unwrap();
        for case in expect["texts"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            assert_eq!(tokenizer.encode(text, false), ids(&case["ids"]), "{text}");
            assert_eq!(tokenizer.encode(text, true), ids(&case["special"]), "{text}");
        }
        let template = ChatTemplate::from_files(Some(&text("tokenizer_config.json")), None).unwrap();
        for case in expect["chats"].as_array().unwrap() {
            let messages: Vec<Message> = serde_json::from_value(case["messages"].clone()).unwrap();
            let text = template.render(&messages, true).unwrap();
            assert_eq!(text, case["text"].as_str().unwrap());
            assert_eq!(tokenizer.encode(&text.replace("<image>", ""), false), ids(&case["ids"]), "{text}");
        }
    }
}

#[test]
fn the_tower_computes_what_transformers_computes() {
    let Some(gpu) = gpu() else { return };
    let folder = folder(&export("shapes"), "vision_tower");
    let config = block_on(ModelSpec::open(&folder)).unwrap().config.vision_config;
    let mut g = Registry::default();
    let tower = Vision::new(&mut g, &config);
    let weights = block_on(values(&folder, &g.specs));
    let params = Params::new(&gpu, g.specs, &weights, &Default::default());
    let (_, io) = expected();
    let pixels = gpu.upload(&io["pixels"].values, io["pixels"].shape.as_slice(), "pixels");
    let rows = gpu.tensor([1, 3], DType::U32, "rows");
    let mut r = Recorder::new(&gpu);
    let mut states = tower.forward(&mut r, &params, &rows, &pixels, config.num_hidden_layers, true).states;
    let last = tower.post_norm.forward(&mut r, &params, &states[config.num_hidden_layers]).0;
    states.push(last);
    r.finish().run();
    for (i, got) in block_on(gpu.read_all(&states)).unwrap().iter().enumerate() {
        let key = if i > config.num_hidden_layers { "vision.last".to_owned() } else { format!("vision.{i}") };
        let error = difference(got, &io[&key].values);
        assert!(error < TOLERANCE, "{key}: {error:.1e}");
    }
    done(&gpu);
}

async fn values(folder: &Folder, specs: &[hive::nn::ParamSpec]) -> Weights {
    let checkpoint = Checkpoint::open(folder).await.unwrap();
    let mut out = Weights::new();
    for (name, found) in resolve(&checkpoint, specs, &[]).unwrap().found {
        out.insert(name, checkpoint.read_values(&found.name).await.unwrap());
    }
    out
}

#[test]
fn the_language_model_computes_what_transformers_computes() {
    let Some(gpu) = gpu() else { return };
    let folder = folder(&export("shapes"), "language_model");
    let spec = block_on(ModelSpec::open(&folder)).unwrap();
    assert_eq!((spec.kind, spec.eos.as_slice(), spec.bos), (Wiring::Text, &[2][..], Some(1)));
    let (_, io) = expected();
    let ids: Vec<u32> = io["ids"].values.iter().map(|v| *v as u32).collect();
    let width = spec.config.text_config.vocab_size;
    let mut decoder = decoder(&gpu, &folder, &spec, Format::F32);
    for count in [1, 7, ids.len()] {
        block_on(decoder.begin(Prompt { ids: &ids[..count], ..Prompt::default() }, &Settings::default())).unwrap();
        block_on(decoder.next(1)).unwrap();
        let want = &io["logits"].values[(count - 1) * width..count * width];
        let error = difference(&block_on(decoder.logits()).unwrap(), want);
        assert!(error < TOLERANCE, "{count} tokens: {error:.1e}");
    }
    done(&gpu);
}

fn decoder(gpu: &Gpu, folder: &Folder, spec: &ModelSpec, format: Format) -> Decoder {
    let (model, specs) = Model::new(&spec.config, Wiring::Text);
    let checkpoint = block_on(Checkpoint::open(folder)).unwrap();
    let resolved = resolve(&checkpoint, &specs, &[]).unwrap();
    let (stacks, formats) = (model.stacks(), Formats::of(format));
    let params = block_on(load(gpu, &checkpoint, &resolved, specs, &stacks, formats, |_| true)).unwrap();
    block_on(Decoder::new(Arc::new(model), Arc::new(params), 64, false)).unwrap()
}

#[test]
fn the_whole_model_answers_as_the_checkpoint_does() {
    let Some(gpu) = gpu() else { return };
    for (name, dataset) in Dataset::ALL.map(|dataset| (dataset.name(), dataset)) {
        let run = block_on(assets::model(name)).unwrap();
        let mut trained = block_on(of_checkpoint(&gpu, &run)).unwrap();
        let source = block_on(ModelFolder::open(&folder(&export(name), ""))).unwrap();
        assert_eq!(source.extra, [""; 0]);
        let mut assistant = block_on(source.load(&gpu, Formats::of(Format::F32), 96, None, |_| true)).unwrap();
        assert_eq!(assistant.recipe().unwrap().square.background, Some([255; 3]));
        let mut answers = std::collections::BTreeSet::new();
        for sample in dataset.samples(Split::HeldOut, 0, 0, 12, 1) {
            let asked = &sample.turns[0].question;
            let (messages, shown) = ([Message::question(asked, true)], [Picture::of(&sample.pixels)]);
            // As training rows are made.
            let row = [&[START][..], &run.meta.tokenizer.encode(asked)].concat();
            assert_eq!(trained.tokens(&messages, &shown).unwrap().ids, row);
            let want = block_on(trained.reply(&messages, &shown, &Options::default(), |_| true)).unwrap().text;
            // As hive ask puts it.
            let content = format!("<image>\n{}", asked.trim_end_matches(" ?").to_uppercase());
            let messages = [Message { role: "user".into(), content }];
            let got = block_on(assistant.reply(&messages, &shown, &Options::default(), |_| true)).unwrap();
            assert_eq!(got.text, want, "{name}: {asked}");
            answers.insert(want);
        }
        assert!(answers.len() > 3, "{answers:?}");
        // As people write places that are a word in one of the vocabularies.
        let words = &run.meta.tokenizer;
        for text in ["what is at the TOP left", "top\n left, stop left, top left-hand", "the bottom-right right"] {
            assert_eq!(assistant.encode(text), words.encode(text), "{name}: {text}");
        }
        let place = words.id("top-left");
        assert_eq!(place.is_some(), dataset == Dataset::Grounds);
        assert!(place.is_none_or(|id| assistant.encode("Top left") == [id]), "{name}");
    }
    done(&gpu);
}

/// A checkpoint in the middle of a run: moments beside the weights, and something else.
fn training(preset: &Preset) -> (Vec<u8>, Weights) {
    let weights = drawn(preset, 3);
    let meta = Meta {
        format: FORMAT,
        model: preset.model.clone(),
        tokenizer: source(preset).tokenizer().clone(),
        preset: preset.clone(),
        stage: None,
        update: 7,
        more: false,
        split: hive::data::folder::SplitBy::Id,
        data: None,
        scores: Vec::new(),
    };
    let moments = (weights.clone(), weights.clone());
    let attachments = [("log".to_owned(), vec![1, 2, 3])].into();
    let run = Run { meta, weights: weights.clone(), moments, attachments };
    (run.to_bytes(&Model::new(&preset.model, preset.wiring).1, Precision::F32).unwrap(), weights)
}

#[test]
fn a_run_in_progress_exports_its_weights_alone() {
    let mut preset = preset("tiny");
    for wiring in [Wiring::Linked, Wiring::Flattened] {
        preset.wiring = wiring;
        let (bytes, weights) = training(&preset);
        let files = converted(run_file(&bytes), Request::default()).unwrap();
        let whole = parse(&files["model.safetensors"]).unwrap();
        assert_eq!(whole.keys().collect::<Vec<_>>(), weights.keys().collect::<Vec<_>>());
        assert!(whole.iter().all(|(name, t)| bits(&t.values) == bits(&weights[name])));
        let spec = block_on(ModelSpec::open(&folder(&files, ""))).unwrap();
        assert_eq!(spec.config.text_config, preset.model.text_config);
        let source = block_on(ModelFolder::open(&folder(&files, ""))).unwrap();
        assert!(source.model.sees() && source.extra.is_empty());
        for part in Part::ALL {
            let alone = converted(run_file(&bytes), Request { part: Some(part), ..Request::default() }).unwrap();
            for (name, bytes) in alone {
                assert!(files[&format!("{}/{name}", part.name())] == bytes, "{name}");
            }
        }
        let half = converted(run_file(&bytes), Request { dtype: Some(FileDType::F16), ..Request::default() }).unwrap();
        assert!(String::from_utf8_lossy(&half["vision_tower/config.json"]).contains("float16"));
        assert!(half["model.safetensors"].len() * 2 < files["model.safetensors"].len() + 40_000);
    }
}

/// With links or with the image in its text, a checkpoint answers by itself, and as its folder does by fused kernels.
#[test]
fn checkpoints_of_either_wiring_answer_as_their_folders_do() {
    let Some(gpu) = gpu() else { return };
    let mut preset = preset("tiny");
    for wiring in [Wiring::Linked, Wiring::Flattened] {
        preset.wiring = wiring;
        let (bytes, _) = training(&preset);
        let run = Run::from_bytes(&bytes).unwrap();
        let files = converted(run_file(&bytes), Request::default()).unwrap();
        let source = block_on(ModelFolder::open(&folder(&files, ""))).unwrap();
        let loaded = block_on(source.load(&gpu, Formats::of(Format::F32), 160, None, |_| true)).unwrap();
        let sample = &Dataset::Shapes.samples(Split::HeldOut, 0, 0, 1, 1)[0];
        let messages = [Message::question(&sample.turns[0].question, true)];
        let options = Options { limit: 6, ..Options::default() };
        let [by_itself, by_folder] = [block_on(of_checkpoint(&gpu, &run)).unwrap(), loaded].map(|mut assistant| {
            let reply =
                block_on(assistant.reply(&messages, &[Picture::of(&sample.pixels)], &options, |_| true)).unwrap();
            reply.tokens.iter().map(|made| made.token).collect::<Vec<_>>()
        });
        assert!(!by_itself.is_empty() && by_itself == by_folder, "{wiring:?}: {by_itself:?} and {by_folder:?}");
    }
    done(&gpu);
}

#[test]
fn start_weights_export_in_parts_and_damaged_checkpoints_are_told() {
    let start = start_file(&preset("tiny"), 3);
    let conversion = block_on(Conversion::open(run_file(&start), Request::default())).unwrap();
    assert!(conversion.notes[0].contains("no links yet"), "{:?}", conversion.notes);
    let files = written(&conversion).unwrap();
    assert!(files.keys().all(|path| Part::ALL.iter().any(|p| path.starts_with(p.name()))), "{:?}", files.keys());

    let refused = |bytes: &[u8]| converted(run_file(bytes), Request::default()).unwrap_err().to_string();
    for len in [0, 7, 8, 100, start.len() / 2, start.len() - 1] {
        assert!(refused(&start[..len]).contains("checkpoint.safetensors"), "{}", refused(&start[..len]));
    }
    // What the run says of itself does not fit its weights, or is no model at all.
    let header = String::from_utf8_lossy(&start[8..]).into_owned();
    let at = |text: &str| 8 + header.find(text).unwrap_or_else(|| panic!("{text}"));
    let swap = |text: &str, other: &str| {
        assert_eq!(text.len(), other.len());
        let (mut bytes, at) = (start.clone(), at(text));
        bytes[at..at + other.len()].copy_from_slice(other.as_bytes());
        bytes
    };
    for (text, other, told) in [
        (r#"{\"format\":1"#, r#"{\"format\":9"#, "format 9"),
        (r#"{\"format\":1"#, r#"{\"format\" 1"#, "metadata cannot be read"),
        (
            r#""model.norm.weight""#,
            r#""model.mean.weight""#,
            "model.norm.weight (nearest unused name: model.mean.weight)",
        ),
    ] {
        assert!(refused(&swap(text, other)).contains(told), "{}", refused(&swap(text, other)));
    }
}

#[test]
fn folders_change_their_type_and_their_files() {
    let llama = fixture("llama");
    let whole = parse(&read_file(&repository("tests/fixtures/llama/model.safetensors")).unwrap()).unwrap();
    let request = Request { dtype: Some(FileDType::BF16), shard: Some(20_000), ..Request::default() };
    let files = converted(Origin::Folder(llama.clone()), request).unwrap();
    assert!(
        files.len() > 4 && files.contains_key("model.safetensors.index.json") && !files.contains_key("io.safetensors")
    );
    let again = block_on(Checkpoint::open(&folder(&files, ""))).unwrap();
    assert_eq!(again.tensors().keys().collect::<Vec<_>>(), whole.keys().collect::<Vec<_>>());
    for (name, place) in again.tensors() {
        assert_eq!(place.info.dtype, FileDType::BF16);
        let rounded: Vec<f32> = whole[name].values.iter().map(|v| half::bf16::from_f32(*v).to_f32()).collect();
        assert_eq!(bits(&block_on(again.read_values(name)).unwrap()), bits(&rounded), "{name}");
    }
    // And back in one file, which keeps what was rounded.
    let request = Request { dtype: Some(FileDType::F32), ..Request::default() };
    let back = converted(Origin::Folder(folder(&files, "")), request).unwrap();
    assert_eq!(back.keys().collect::<Vec<_>>(), ["config.json", "model.safetensors"]);
    assert_eq!(back["config.json"], read_json(&llama));
    // As they are: the same bytes but for the header.
    let same = converted(Origin::Folder(llama), Request::default()).unwrap();
    assert_eq!(parse(&same["model.safetensors"]).unwrap(), whole);
}

/// Logits after a few tokens, without a picture.
fn text_logits(gpu: &Gpu, folder: &Folder, format: Format) -> Vec<f32> {
    let spec = block_on(ModelSpec::open(folder)).unwrap();
    let mut decoder = decoder(gpu, folder, &spec, format);
    block_on(decoder.begin(Prompt { ids: &[1, 5, 9, 2, 7], ..Prompt::default() }, &Settings::default())).unwrap();
    block_on(decoder.next(1)).unwrap();
    block_on(decoder.logits()).unwrap()
}

/// Quantised files are what loading would have made of the originals, in every format they may be loaded in.
#[test]
fn quantised_files_are_the_model_that_quantising_while_loading_makes() {
    let Some(gpu) = gpu() else { return };
    for name in ["llama", "llama-untied", "qwen2", "hive"] {
        let whole = fixture(name);
        let exact = text_logits(&gpu, &whole, Format::F32);
        let size = |files: &Files| files["model.safetensors"].len();
        let plain = size(&converted(Origin::Folder(whole.clone()), Request::default()).unwrap());
        for (format, shrinks) in [(Format::Int8, 2), (Format::Int4, 2)] {
            let request = Request { weights: Some(format), ..Request::default() };
            let files = converted(Origin::Folder(whole.clone()), request).unwrap();
            assert!(size(&files) * shrinks < plain, "{name} {format:?}: {} of {plain} bytes", size(&files));
            let quantised = folder(&files, "");
            let loaded = text_logits(&gpu, &whole, format);
            let what = format!("{name} {}", format.name());
            // Host and GPU may divide differently in the last bit; the fixtures have no groups where that decides.
            for again in [format, Format::F32] {
                let error = difference(&text_logits(&gpu, &quantised, again), &loaded);
                assert!(error < 1e-4, "{what} loaded as {}: {error:.1e}", again.name());
            }
            assert!(difference(&loaded, &exact) > 1e-4, "{what}: quantising changes nothing, so this tests nothing");
            // A second time nothing is left to do.
            let twice = converted(Origin::Folder(quantised), request).unwrap();
            assert!(twice["model.safetensors"] == files["model.safetensors"], "{what}");
        }
    }
    let part = Request { part: Some(Part::Language), weights: Some(Format::Int8), ..Request::default() };
    let told = converted(Origin::Folder(fixture("hive")), part).unwrap_err().to_string();
    assert!(told.contains("other programs, which do not read quantised weights"), "{told}");
    // Blocks that do not fit the shape they are for.
    let request = Request { weights: Some(Format::Int8), ..Request::default() };
    let mut files = converted(Origin::Folder(fixture("llama")), request).unwrap();
    let config = String::from_utf8(files["config.json"].clone()).unwrap();
    let wider = config.replace("\"intermediate_size\": ", "\"intermediate_size\": 1");
    assert_ne!(wider, config);
    files.insert("config.json".into(), wider.into_bytes());
    let other = folder(&files, "");
    let spec = block_on(ModelSpec::open(&other)).unwrap();
    let specs = Model::new(&spec.config, Wiring::Text).1;
    let told = resolve(&block_on(Checkpoint::open(&other)).unwrap(), &specs, &[]).unwrap_err().to_string();
    assert!(told.contains("gate_proj.weight") && told.contains("must be"), "{told}");
    done(&gpu);
}

fn read_json(folder: &Folder) -> Vec<u8> {
    let value: Value = serde_json::from_str(&block_on(folder.required_text("config.json")).unwrap()).unwrap();
    format!("{value:#}\n").into_bytes()
}

/// The parts of a linked and of a flattened model, taken apart and put together again, are the same model.
#[test]
fn parts_are_merged_to_the_whole() {
    for (name, kind) in [("hive", Wiring::Linked), ("hive-qwen2", Wiring::Linked), ("cascade", Wiring::Flattened)] {
        let whole = fixture(name);
        let part = |part| {
            converted(Origin::Folder(whole.clone()), Request { part: Some(part), ..Request::default() }).unwrap()
        };
        let (tower, language) = (folder(&part(Part::Tower), ""), folder(&part(Part::Language), ""));
        let origin = Origin::Parts { tower: tower.clone(), language: language.clone(), links: whole.clone(), kind };
        let merged = converted(origin, Request::default()).unwrap();
        let weights = |folder: &Folder| {
            let checkpoint = block_on(Checkpoint::open(folder)).unwrap();
            let all = checkpoint.tensors().keys().map(|n| (n.clone(), block_on(checkpoint.read_values(n)).unwrap()));
            all.collect::<BTreeMap<_, _>>()
        };
        assert_eq!(weights(&folder(&merged, "")), weights(&whole), "{name}");
        let spec = |folder: &Folder| block_on(ModelSpec::open(folder)).unwrap();
        let (got, want) = (spec(&folder(&merged, "")), spec(&whole));
        assert_eq!((got.kind, got.config), (want.kind, want.config), "{name}");

        let refused = |tower: &Folder, language: &Folder, links: &Folder| {
            let (tower, language, links) = (tower.clone(), language.clone(), links.clone());
            converted(Origin::Parts { tower, language, links, kind }, Request::default()).unwrap_err().to_string()
        };
        assert!(refused(&language, &language, &whole).contains("--tower has no vision tower"));
        assert!(refused(&tower, &tower, &whole).contains("--language has no language model"));
        let without = refused(&tower, &language, &language);
        assert!(
            without.contains(if kind == Wiring::Linked { "link_config is missing" } else { "missing: mm_projector" }),
            "{without}"
        );
        let part = Request { part: Some(Part::Tower), ..Request::default() };
        let lacks = converted(Origin::Folder(language), part).unwrap_err().to_string();
        assert!(lacks.contains("has no vision tower"), "{lacks}");
    }
    // Links of a training run know what they link.
    let (bytes, weights) = training(&preset("tiny"));
    let files = converted(run_file(&bytes), Request::default()).unwrap();
    let links = Folder::new([Blob::memory("checkpoint.safetensors", bytes)]).unwrap();
    let (tower, language) = (folder(&files, "vision_tower"), folder(&files, "language_model"));
    let merged = converted(Origin::Parts { tower, language, links, kind: Wiring::Linked }, Request::default()).unwrap();
    let got = parse(&merged["model.safetensors"]).unwrap();
    assert!(got.len() == weights.len() && got.iter().all(|(n, t)| bits(&t.values) == bits(&weights[n])));
    assert_eq!(merged["tokenizer.json"], files["tokenizer.json"]);
}
