//! Published vision-language models: seven forms with random weights against `transformers`, on the way that a question takes;
//! copies of other types and in shards; the faults that nobody would notice; published configurations.

use std::collections::BTreeMap;
use std::path::Path;

use hive::data::chat::Message;
use hive::data::tiles::{Cut, Picture, Recipe};
use hive::engine::answers::assistant::Options;
use hive::engine::answers::open::ModelFolder;
use hive::engine::parity::check_folder;
use hive::gpu::{AdapterKind, Gpu, GpuOptions};
use hive::model::files::{FileDType, Folder, ModelSpec, Resolved};
use hive::model::load::Formats;
use hive::model::memory::Plan;
use hive::model::model::Model;
use hive::model::weights::{Precision, parse, write};
use hive::ops::packed::Format;
use hive::platform::{Blob, block_on, list_folder, read_file};
use hive::train::parity::Group;
use serde_json::{Value, json};

use crate::common::{done, gpu, open, repository};

/// Files by name.
type Files = BTreeMap<String, Vec<u8>>;

const FAMILIES: [&str; 7] =
    ["granite-docling", "llava-interleave", "llava-onevision", "nanovlm", "smolvlm", "smolvlm-whole", "smolvlm2"];

fn files(name: &str) -> Files {
    let folder = repository("tests/fixtures-vlm").join(name);
    let file = |n: String| (n.clone(), read_file(&folder.join(n)).unwrap());
    list_folder(&folder).unwrap().into_iter().map(file).collect()
}

fn checked(gpu: &Gpu, files: &Files) -> Vec<Group> {
    let blobs = files.iter().map(|(name, bytes)| Blob::memory(name, bytes.clone()));
    block_on(check_folder(gpu, &Folder::new(blobs).unwrap())).unwrap()
}

/// The names of the groups that do not hold.
fn wrong(groups: &[Group]) -> Vec<&str> {
    groups.iter().filter(|g| !g.passed()).map(|g| g.name.as_str()).collect()
}

#[test]
fn every_family_is_as_transformers_computes_it() {
    let Some(gpu) = gpu() else { return };
    for name in FAMILIES {
        let groups = checked(&gpu, &files(name));
        let bad: Vec<&Group> = groups.iter().filter(|g| !g.passed()).collect();
        assert!(bad.is_empty(), "{name}: {bad:#?}");
        let have: Vec<&str> = groups.iter().map(|g| g.name.as_str()).collect();
        for group in ["pixels, levels", "prompts", "tower", "rows of pictures", "logits", "greedy tokens"] {
            assert!(have.contains(&group), "{name}: nothing is compared as {group}");
        }
    }
    done(&gpu);
}

/// On this machine's driver, with the kernels that graphics processors get: their products decode packed weights on the way.
#[test]
fn hardware_kernels_compute_the_same() {
    let options = GpuOptions { kind: Some(AdapterKind::Hardware), ..GpuOptions::default() };
    let Some(gpu) = open(&options) else { return };
    for name in ["smolvlm-whole", "llava-interleave"] {
        assert_eq!(wrong(&checked(&gpu, &files(name))), Vec::<&str>::new(), "{name}");
    }
    done(&gpu);
}

/// A file of weights of any type.
fn weights(part: &[(String, Vec<usize>, &[f32])], dtype: FileDType) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape, values) in part {
        let start = data.len();
        data.extend(dtype.encode(values));
        let info = json!({"dtype": dtype.to_string(), "shape": shape, "data_offsets": [start, data.len()]});
        header.insert(name.clone(), info);
    }
    let header = Value::Object(header).to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

/// The weights again, in two files of another type.
fn copied(files: &mut Files, dtype: FileDType) {
    let tensors = parse(&files.remove("model.safetensors").unwrap()).unwrap();
    let all: Vec<_> = tensors.iter().map(|(n, t)| (n.clone(), t.shape.clone(), t.values.as_slice())).collect();
    let (first, second) = all.split_at(all.len() / 2);
    let mut map = serde_json::Map::new();
    for (i, part) in [first, second].into_iter().enumerate() {
        let file = format!("model-0000{}-of-00002.safetensors", i + 1);
        map.extend(part.iter().map(|(name, ..)| (name.clone(), json!(file))));
        files.insert(file, weights(part, dtype));
    }
    files.insert("model.safetensors.index.json".into(), json!({"weight_map": map}).to_string().into_bytes());
}

#[test]
fn copies_of_other_types_and_in_shards_hold_by_their_types() {
    let Some(gpu) = gpu() else { return };
    for (name, dtype) in [
        ("smolvlm2", FileDType::F32),
        ("llava-onevision", FileDType::BF16),
        ("nanovlm", FileDType::F16),
        ("smolvlm", FileDType::F16),
    ] {
        let mut files = files(name);
        copied(&mut files, dtype);
        let groups = checked(&gpu, &files);
        let bad: Vec<&Group> = groups.iter().filter(|g| !g.passed()).collect();
        assert!(bad.is_empty(), "{name}: {bad:#?}");
    }
    done(&gpu);
}

fn changed(files: &Files, file: &str, change: impl Fn(&mut Value)) -> Files {
    let mut files = files.clone();
    let mut value: Value = serde_json::from_slice(&files[file]).unwrap();
    change(&mut value);
    files.insert(file.to_owned(), value.to_string().into_bytes());
    files
}

/// What computes on without a word when it is wrong: each is found, by what it spoils and nothing else that comes before it.
#[test]
fn faults_that_nobody_would_see_are_found() {
    let Some(gpu) = gpu() else { return };
    let (smol, one) = (files("smolvlm"), files("llava-onevision"));
    let groups = |files: &Files| {
        let groups = checked(&gpu, files);
        wrong(&groups).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    // A template over parts that is fed with a text: the question is gone.
    let text = "{% for m in messages %}{{ m['role'] | capitalize }}: {% for part in m['content'] %}{{ part['texts'] }}{% endfor %}{% endfor %}";
    let found = groups(&changed(&smol, "chat_template.json", |v| v["chat_template"] = json!(text)));
    assert!(found.contains(&"prompts".to_owned()), "{found:?}");
    // Another filter, one resize less, another order of pictures' squares: pixels.
    for (key, value) in [("resample", json!(3)), ("resample", json!(2)), ("size", json!({"longest_edge": 96}))] {
        let found = groups(&changed(&smol, "preprocessor_config.json", |v| v[key] = value.clone()));
        assert!(found.contains(&"pixels, levels".to_owned()), "{key}: {found:?}");
    }
    // What newer versions of transformers write into the processor's file counts before the older file.
    let older: Value = serde_json::from_slice(&smol["preprocessor_config.json"]).unwrap();
    let found = groups(&changed(&smol, "processor_config.json", |v| {
        v["image_processor"] = older.clone();
        v["image_processor"]["resample"] = json!(3);
    }));
    assert!(found.contains(&"pixels, levels".to_owned()), "{found:?}");
    // Its scale: values, not bytes, so that levels differ.
    let found = groups(&changed(&smol, "preprocessor_config.json", |v| v["image_mean"] = json!([0.25, 0.25, 0.25])));
    assert!(
        found.contains(&"rows of pictures".to_owned()) || found.contains(&"pixels, levels".to_owned()),
        "{found:?}"
    );
    // A token that ends answers.
    let found = groups(&changed(&smol, "expect.json", |v| v["eos_token_id"] = json!([371, 370])));
    assert_eq!(found, ["prompts"]);
    // Where the tower is read.
    let found = groups(&changed(&one, "config.json", |v| v["vision_feature_layer"] = json!(-2)));
    assert_eq!(found, ["tower", "rows of pictures", "logits", "greedy tokens"]);
    // What is reduced after it, and to how much.
    let found = groups(&changed(&one, "config.json", |v| v["vision_aspect_ratio"] = json!("anyres_max_4")));
    assert!(found.contains(&"prompts".to_owned()) && !found.contains(&"tower".to_owned()), "{found:?}");
    // The last norm of the tower, where it is taken.
    let mut normed = smol.clone();
    let mut tensors = parse(&normed["model.safetensors"]).unwrap();
    tensors.get_mut("model.vision_model.post_layernorm.weight").unwrap().values[3] *= 1.5;
    let all: Vec<_> = tensors.iter().map(|(n, t)| (n.clone(), t.shape.clone(), t.values.as_slice())).collect();
    normed.insert("model.safetensors".into(), write(&all, Precision::F32));
    let found = groups(&normed);
    assert!(found.starts_with(&["tower".to_owned(), "rows of pictures".to_owned(), "logits".to_owned()]), "{found:?}");
    done(&gpu);
}

/// How pictures of any size are cut, and how many rows of the text they become.
fn cut(spec: &ModelSpec) -> Recipe {
    let side = spec.config.vision_config.image_size;
    let square = hive::data::image::Preprocess::new(side);
    let cut = match (spec.family.cut.clone(), spec.model_type.as_str()) {
        (Some(cut), _) => cut,
        // As the processors of both sizes say.
        (None, "idefics3" | "smolvlm") => Cut::Rows { longest: 4 * side, split: true },
        (None, _) => Cut::Whole,
    };
    Recipe { square, cut }
}

/// Where a token looks is what transformers computes (`tests/models/attention.py`), and looking changes nothing.
#[test]
fn where_an_answer_looked_is_what_transformers_computes() {
    let Some(gpu) = gpu() else { return };
    let want = parse(&read_file(&repository("tests/fixtures-vlm/attention.safetensors")).unwrap()).unwrap();
    for name in ["smolvlm", "llava-onevision"] {
        let files = files(name);
        let blobs = files.iter().map(|(name, bytes)| Blob::memory(name, bytes.clone()));
        let folder = Folder::new(blobs).unwrap().without("io.safetensors");
        let opened = block_on(ModelFolder::open(&folder)).unwrap();
        let load = opened.load(&gpu, Formats::of(Format::F32), opened.room(None), None, |_| true);
        let mut assistant = block_on(load).unwrap();
        let recipe = opened.recipe().unwrap();
        let picture = recipe.decode(&files["wide.png"], "wide.png", true).unwrap();
        let messages = [Message::about("What is in this picture?", 1)];
        let options = Options { limit: 12, ..Options::default() };
        let pictures = [picture];
        let reply = block_on(assistant.reply(&messages, &pictures, &options, |_| true)).unwrap();
        let want = &want[name];
        let (heads, positions) = (want.shape[1], want.shape[2]);
        assert_eq!(reply.prompt, positions, "{name}");
        let got = block_on(assistant.decoder_mut().attention(positions - 1)).unwrap().unwrap();
        let worst = got.iter().zip(&want.values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(got.len() == want.values.len() && worst < 1e-4, "{name}: {worst}");
        // A row of a picture, and what was never read, have no words that could look.
        let tokens = assistant.tokens(&messages, &pictures).unwrap();
        assert_eq!(block_on(assistant.decoder_mut().attention(tokens.rows[0].0)).unwrap(), None);
        assert_eq!(block_on(assistant.decoder_mut().attention(9000)).unwrap(), None);
        let looked = block_on(assistant.look()).unwrap().unwrap();
        assert_eq!((looked.layers, looked.heads, looked.rows), (want.shape[0], heads, tokens.rows.len()));
        let sum: f32 = looked.of(None, None).iter().sum();
        assert!(sum > 0.2 && sum < 1.0, "{name}: {sum} of the attention is on the picture");
        let one: f32 = looked.of(Some(1), Some(2)).iter().sum();
        assert!((one - sum).abs() > 1e-3, "a head looks as all do");
        // One place for each row.
        assert_eq!(recipe.places(&pictures[0], opened.spec.config.image_rows().isqrt()).len(), looked.rows);
        // Asked again, the same is said: caches are as they were.
        let again = block_on(assistant.reply(&messages, &pictures, &options, |_| true)).unwrap();
        assert_eq!(again.text, reply.text, "{name}");
        // Without a picture there is nothing to look at.
        block_on(assistant.reply(&[Message::new("user", "Are you there?")], &[], &options, |_| true)).unwrap();
        assert_eq!(block_on(assistant.look()).unwrap(), None);
    }
    done(&gpu);
}

/// The rows of a picture are kept while it is talked about: it goes through the tower once.
#[test]
fn a_picture_is_looked_at_once() {
    let Some(gpu) = gpu() else { return };
    let files = files("smolvlm");
    let blobs = files.iter().map(|(name, bytes)| Blob::memory(name, bytes.clone()));
    let folder = Folder::new(blobs).unwrap().without("io.safetensors");
    let opened = block_on(ModelFolder::open(&folder)).unwrap();
    let load = opened.load(&gpu, Formats::of(Format::F32), 1024, None, |_| true);
    let mut assistant = block_on(load).unwrap();
    let picture = |name: &str| opened.recipe().unwrap().decode(&files[name], name, true).unwrap();
    let (wide, small) = (picture("wide.png"), picture("small.png"));
    let (first, second) = (wide.squares, small.squares);
    assert!(first > 1 && second > 1);
    let options = Options { limit: 3, ..Options::default() };
    let mut ask = |messages: &[Message], pictures: &[Picture]| {
        block_on(assistant.reply(messages, pictures, &options, |_| true)).unwrap();
        assistant.decoder().looks()
    };
    let about = |text: &str, pictures: usize| Message::about(text, pictures);
    let (question, answer) = (about("What is this?", 1), Message::new("assistant", "A picture."));
    assert_eq!(ask(std::slice::from_ref(&question), std::slice::from_ref(&wide)), first);
    // Another turn, and another conversation about the same.
    let turns = [question.clone(), answer.clone(), about("And its colour?", 0)];
    assert_eq!(ask(&turns, std::slice::from_ref(&wide)), first);
    assert_eq!(ask(&[about("Where is it?", 1)], std::slice::from_ref(&wide)), first);
    // A second picture in a later turn: its own squares alone.
    let turns = [question, answer, about("And this?", 1)];
    assert_eq!(ask(&turns, &[wide.clone(), small]), first + second);
    // Without pictures between, which takes no room from them.
    assert_eq!(ask(&[about("Are you there?", 0)], &[]), first + second);
    assert_eq!(ask(&[about("What is this?", 1)], &[wide]), first + second);
    done(&gpu);
}

/// Rows of a square that two files disagree about, and sizes that no picture has.
#[test]
fn files_that_contradict_each_other_or_ask_for_too_much_are_told() {
    let says = |files: &Files| {
        let blobs = files.iter().map(|(name, bytes)| Blob::memory(name, bytes.clone()));
        let folder = Folder::new(blobs).unwrap().without("io.safetensors");
        block_on(ModelFolder::open(&folder)).err().map(|e| e.to_string()).unwrap_or_default()
    };
    let (smol, nano) = (files("smolvlm"), files("nanovlm"));
    assert_eq!(says(&smol), "");
    let found = says(&changed(&smol, "processor_config.json", |v| v["image_seq_len"] = json!(64)));
    assert!(found.contains("image_seq_len is 64, and by config.json a square becomes 4 rows"), "{found}");
    let found = says(&changed(&smol, "preprocessor_config.json", |v| v["size"]["longest_edge"] = json!(1_000_000_000)));
    assert!(found.contains("size is 1000000000"), "{found}");
    let found = says(&changed(&nano, "config.json", |v| v["max_img_size"] = json!(32_000_000_000_u64)));
    assert!(found.contains("max_img_size must be a multiple of vit_img_size 32"), "{found}");
    // A tokenizer that is not there is that of another entry.
    let mut alone = nano;
    alone.remove("tokenizer.json");
    let found = says(&alone);
    assert!(found.contains("uses that of HuggingFaceTB/SmolLM2-135M-Instruct"), "{found}");
    let mut bare = smol;
    bare.remove("preprocessor_config.json");
    let found = says(&bare);
    assert!(found.contains("preprocessor_config.json: it is missing, and says how pictures are cut"), "{found}");
}

/// Published configurations: what their classes leave out, their sizes, and what becomes of pictures.
#[test]
fn published_configurations_have_their_sizes() {
    let file = read_file(Path::new(&repository("tests/fixtures-vlm/published.json"))).unwrap();
    let all: Value = serde_json::from_slice(&file).unwrap();
    let readme = String::from_utf8(read_file(Path::new(&repository("README.md"))).unwrap()).unwrap();
    let (mut pictures, mut unsaid) = (0, Vec::new());
    for model in all["models"].as_array().unwrap() {
        let (name, want) = (&model["model"], &model["resolved"]);
        let spec = ModelSpec::read(&model["config"].to_string(), None).unwrap();
        let (_, specs) = Model::new(&spec.config, spec.kind);
        let parameters: usize = specs.iter().map(hive::nn::ParamSpec::len).sum();
        assert_eq!(json!(parameters), want["parameters"], "{name}");
        assert_eq!(json!(spec.config.text_config.tie_word_embeddings), want["tied"], "{name}");
        for (part, own) in [("text", json!(spec.config.text_config)), ("tower", json!(spec.config.vision_config))] {
            for (key, value) in want[part].as_object().unwrap() {
                assert_eq!(own[key].as_f64(), value.as_f64(), "{name}: {part} {key}");
            }
        }
        // What README says of each.
        let (built, _) = Model::new(&spec.config, spec.kind);
        let megabytes = [Format::F16, Format::Int8, Format::Int4].map(|format| {
            let plan = Plan::new(&built, &specs, &Resolved::default(), Formats::of(format), 1024);
            (plan.weights.iter().map(|part| part.gpu).sum::<u64>() as f64 / 1e6).round().to_string()
        });
        let said = format!("| {} MB |", megabytes.join(", "));
        unsaid.extend((!readme.contains(&said)).then(|| format!("{name}: {said}")));
        let recipe = cut(&spec);
        let rows = spec.config.image_rows();
        for picture in model["pictures"].as_array().unwrap() {
            let size = ["height", "width"].map(|key| usize::try_from(picture[key].as_u64().unwrap()).unwrap());
            let (squares, grid) = recipe.squares(size, true);
            assert_eq!(json!(squares), picture["tiles"], "{name}: {size:?}");
            if let Some(want) = picture.get("grid") {
                assert_eq!(json!(grid), *want, "{name}: {size:?}");
            }
            let picture_of = hive::data::tiles::Picture { squares, grid, size, ..Default::default() };
            let count = recipe.rows(&picture_of, rows.isqrt(), 0).len();
            assert_eq!(json!(count), picture["visual_tokens"], "{name}: {size:?}");
            pictures += 1;
        }
    }
    assert!(pictures >= 50, "{pictures}");
    assert!(unsaid.is_empty(), "README does not say {unsaid:#?}");
}

/// What is not read is named, with what Hive has not.
#[test]
fn families_that_are_not_read_are_named() {
    for (model_type, says) in [
        ("internvl", "InternVL: its tower has a CLS token and layer scale, which Hive has not"),
        ("qwen2_vl", "Qwen2-VL"),
        ("paligemma", "PaliGemma"),
        ("llava_next", "LLaVA-NeXT"),
        ("lfm2_vl", "LFM2-VL"),
        ("moondream1", "moondream"),
    ] {
        let error = ModelSpec::read(&json!({"model_type": model_type}).to_string(), None).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains(model_type), "{error}");
    }
    for (config, says) in [
        (json!({"model_type": "idefics3", "text_config": {"qk_layer_norms": true}}), "qk_layer_norms is true"),
        (
            json!({"model_type": "idefics3", "vision_config": {"model_type": "siglip"}}),
            "vision_config.model_type is siglip",
        ),
        (json!({"model_type": "idefics3", "scale_factor": 5}), "do not part into cells of 5"),
        (
            json!({"model_type": "llava_onevision",
                "vision_config": {"model_type": "siglip_vision_model", "image_size": u64::MAX, "patch_size": 16}}),
            "image_size is 18446744073709551615; at most 8192",
        ),
        (
            json!({"vit_hidden_dim": 4, "lm_hidden_dim": 4, "vit_inter_dim": 4, "vit_n_blocks": 1, "vit_n_heads": 1,
                "vit_img_size": 0, "vit_patch_size": 1, "lm_inter_dim": 4, "lm_n_blocks": 1, "lm_n_heads": 1,
                "lm_n_kv_heads": 1, "lm_vocab_size": 4, "lm_max_position_embeddings": 4, "max_img_size": 0}),
            "max_img_size must be a multiple",
        ),
        (
            json!({"model_type": "llava", "vision_feature_layer": i64::MIN, "vision_feature_select_strategy": "full",
                "vision_config": {"model_type": "siglip_vision_model", "num_hidden_layers": i64::MAX}}),
            "vision_feature_layer is -9223372036854775808",
        ),
        (
            json!({"model_type": "llava_onevision",
                "vision_config": {"model_type": "siglip_vision_model", "num_hidden_layers": u64::MAX}}),
            "num_hidden_layers is 18446744073709551615; at most",
        ),
        (json!({"model_type": "llava_onevision", "vision_aspect_ratio": "pad"}), "vision_aspect_ratio is pad"),
        (json!({"model_type": "llava_onevision", "image_grid_pinpoints": [[384, 100]]}), "multiples of 384"),
        (json!({"model_type": "llava_onevision", "image_grid_pinpoints": [[384_000_000, 384]]}), "multiples of 384"),
        (
            json!({"model_type": "qwen2", "mm_vision_tower": "openai/clip-vit-large-patch14"}),
            "mm_vision_tower is openai/clip",
        ),
    ] {
        let error = ModelSpec::read(&config.to_string(), None).unwrap_err().to_string();
        assert!(error.contains(says), "{says}: {error}");
    }
}
