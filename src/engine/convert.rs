//! Models from one form to another: training checkpoints to folders that `transformers` opens, folders to other types
//! or shards, a tower, a language model and links to one folder. Everything is planned from headers; then bytes flow.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::data::image::WHITE;
use crate::data::tokenizer::{END, PAD, START};
use crate::data::tokenizer_files::{tokenizer_config, tokenizer_json};
use crate::model::config::{HiveConfig, LinkConfig};
use crate::model::export::{self, Part};
use crate::model::files::write::{Item, Shard, WriteError, index, shards};
use crate::model::files::{
    Checkpoint, Family, FileDType, FilesError, Folder, ModelSpec, Place, canonical, header, resolve,
};
use crate::model::load::Formats;
use crate::model::model::{Model, Wiring};
use crate::nn::ParamSpec;
use crate::ops::packed::Format;
use crate::platform::Blob;
use crate::train::checkpoint::{CheckpointError, Meta};

/// Most bytes of a file that are copied at once.
const PIECE: u64 = 4 << 20;

const CONFIG: &str = "config.json";
const GENERATION: &str = "generation_config.json";
const PREPROCESSOR: &str = "preprocessor_config.json";

/// Why there is nothing to write.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ConvertError {
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A checkpoint of a training run.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Write(#[from] WriteError),
    /// What is asked for is not in there.
    #[error("{0}")]
    Missing(String),
}

/// What a model is made of.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Origin {
    /// A file: a checkpoint of a training run, or weights alone.
    File(Blob),
    /// A folder with Hugging Face's files.
    Folder(Folder),
    /// Three folders that become one.
    Parts {
        tower: Folder,
        language: Folder,
        /// Links or a projector, with their configuration or from a training run.
        links: Folder,
        /// [`Wiring::Linked`] for links, [`Wiring::Flattened`] for a projector.
        kind: Wiring,
    },
}

/// How it should be written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request {
    /// This part alone.
    pub part: Option<Part>,
    /// Type of weights; as they are where nothing is said.
    pub dtype: Option<FileDType>,
    /// Most bytes of a file of weights.
    pub shard: Option<u64>,
    /// Quantised matrices, as the loader would make them; only Hive reads such files.
    pub weights: Option<Format>,
}

/// What tensors become.
#[derive(Default)]
struct Kinds {
    dtype: Option<FileDType>,
    /// Formats of quantised ones, by the parameter's name.
    blocks: BTreeMap<String, Format>,
}

impl Kinds {
    /// Of a whole model.
    fn of(spec: &ModelSpec, request: Request) -> Self {
        let mut blocks = BTreeMap::new();
        if let Some(layer) = request.weights {
            let (model, specs) = Model::new(&spec.config, spec.kind);
            for stack in model.stacks() {
                let format = Formats::of(layer).by_role(stack.role);
                blocks.extend(stack.members.iter().map(|(weight, _)| (specs[weight.0].name.clone(), format)));
            }
        }
        Self { dtype: request.dtype, blocks }
    }

    /// Of a part that other programs read.
    fn plain(request: Request) -> Self {
        Self { dtype: request.dtype, ..Self::default() }
    }

    /// `parameter` from the tensor `from` at `place`, called `name` in the new file.
    fn item(&self, parameter: &str, name: &str, source: usize, from: &str, place: &Place) -> Item {
        let item = Item::new(name, source, from, place, self.dtype);
        match self.blocks.get(parameter) {
            Some(format) => item.quantised(place, *format),
            None => item,
        }
    }
}

/// A file to be written.
#[derive(Clone, Debug)]
pub struct NewFile {
    /// Its name, with the folder inside the new one if any.
    pub path: String,
    contents: Contents,
}

#[derive(Clone, Debug)]
enum Contents {
    Text(String),
    Copy(Blob),
    Weights(Shard),
}

impl NewFile {
    fn text(path: impl Into<String>, text: impl std::fmt::Display) -> Self {
        Self { path: path.into(), contents: Contents::Text(format!("{text:#}").trim_end().to_owned() + "\n") }
    }

    fn copy(blob: &Blob) -> Self {
        Self { path: blob.name().to_owned(), contents: Contents::Copy(blob.clone()) }
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match &self.contents {
            Contents::Text(text) => text.len() as u64,
            Contents::Copy(blob) => blob.len(),
            Contents::Weights(shard) => shard.bytes(),
        }
    }
}

/// Files that are known but for their weights' bytes.
#[derive(Debug, Default)]
pub struct Conversion {
    sources: Vec<Checkpoint>,
    /// What will be there.
    pub files: Vec<NewFile>,
    /// Notes for the user.
    pub notes: Vec<String>,
}

impl Conversion {
    /// Reads headers and configurations, and plans the files.
    ///
    /// # Errors
    /// Files that are damaged, do not fit each other, or lack what is asked for.
    pub async fn open(origin: Origin, request: Request) -> Result<Self, ConvertError> {
        if request.weights.is_some() && request.part.is_some() {
            let text = "a part is for other programs, which do not read quantised weights. Convert the whole model";
            return Err(ConvertError::Missing(text.to_owned()));
        }
        match origin {
            Origin::File(blob) => match meta(&blob).await? {
                Some(meta) => Self::of_run(&blob, &meta, request).await,
                None => Self::of_folder(&Folder::new([blob])?, request).await,
            },
            Origin::Folder(folder) => Self::of_folder(&folder, request).await,
            Origin::Parts { tower, language, links, kind } => {
                Self::merged([&tower, &language, &links], kind, request).await
            }
        }
    }

    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(NewFile::bytes).sum()
    }

    /// Hands a file's bytes to `put`, piece by piece.
    ///
    /// # Errors
    /// A source that cannot be read, a number that the type does not have, or what `put` says.
    pub async fn write(
        &self,
        file: &NewFile,
        put: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), ConvertError> {
        match &file.contents {
            Contents::Text(text) => put(text.as_bytes()).map_err(WriteError::Sink)?,
            Contents::Copy(blob) => {
                for start in (0..blob.len()).step_by(PIECE as usize) {
                    let bytes =
                        blob.read(start, PIECE.min(blob.len() - start) as usize).await.map_err(FilesError::Read)?;
                    put(&bytes).map_err(WriteError::Sink)?;
                }
            }
            Contents::Weights(shard) => shard.write(&self.sources, put).await?,
        }
        Ok(())
    }

    /// The whole model, and both parts in folders of their own; or one part.
    async fn of_run(blob: &Blob, meta: &Meta, request: Request) -> Result<Self, ConvertError> {
        let checkpoint = Checkpoint::open(&Folder::new([blob.clone()])?).await?;
        let spec = run_spec(meta)?;
        let (words, vocabulary) = (meta.tokenizer.size(), spec.config.text_config.vocab_size);
        if words > vocabulary {
            let text = format!("the checkpoint has {words} words and a model for {vocabulary}: it is damaged");
            return Err(ConvertError::Missing(text));
        }
        let has = |prefix: &str| checkpoint.tensors().keys().any(|name| name.starts_with(prefix));
        let (layers, config) = (spec.config.link_config.language_layers.clone(), &spec.config);
        let mut out = Self::default();
        let text_files = || {
            [
                NewFile::text("tokenizer.json", tokenizer_json(&meta.tokenizer)),
                NewFile::text("tokenizer_config.json", tokenizer_config(config.text_config.max_position_embeddings)),
                NewFile::text(GENERATION, export::generation(&spec, PAD)),
            ]
        };
        let linked = has(if spec.kind == Wiring::Linked { "links." } else { "mm_projector." });
        if request.part.is_none() && (linked || !Part::ALL.iter().any(|p| has(prefix(*p)))) {
            let items = items(&checkpoint, 0, &whole_specs(&spec), &layers, &Kinds::of(&spec, request))?;
            let mut files = vec![NewFile::text(CONFIG, export::whole(&spec, main_type(&items)))];
            files.push(NewFile::text(PREPROCESSOR, export::preprocessor(&config.vision_config)));
            files.extend(text_files());
            out.add("", files, items, request);
        } else if request.part.is_none() {
            out.notes.push("the checkpoint has no links yet: its parts are written alone".to_owned());
        }
        for part in Part::ALL {
            if request.part.is_some_and(|wanted| wanted != part) || request.part.is_none() && !has(prefix(part)) {
                continue;
            }
            let items = items(&checkpoint, 0, &part.specs(config), &layers, &Kinds::plain(request))?;
            let mut files = vec![NewFile::text(CONFIG, part.config(&spec, main_type(&items)))];
            match part {
                Part::Tower => files.push(NewFile::text(PREPROCESSOR, export::preprocessor(&config.vision_config))),
                Part::Language => files.extend(text_files()),
            }
            out.add(if request.part.is_some() { "" } else { part.name() }, files, items, request);
        }
        out.sources.push(checkpoint);
        Ok(out)
    }

    /// The same names with other types or in other files; or one part under `transformers`' names.
    async fn of_folder(folder: &Folder, request: Request) -> Result<Self, ConvertError> {
        let checkpoint = Checkpoint::open(folder).await?;
        let mut out = Self::default();
        let mut files = companions(folder);
        let items = match request.part {
            None => {
                if let (Some(dtype), Some(text)) = (request.dtype, folder.text(CONFIG).await?) {
                    let damaged =
                        |e: serde_json::Error| FilesError::Json { file: CONFIG.to_owned(), reason: e.to_string() };
                    let mut config = serde_json::from_str(&text).map_err(damaged)?;
                    export::set_dtype(&mut config, dtype);
                    files.retain(|f| f.path != CONFIG);
                    files.push(NewFile::text(CONFIG, config));
                }
                let (mut kinds, mut layers) = (Kinds::plain(request), Vec::new());
                if request.weights.is_some() {
                    let spec = ModelSpec::open(folder).await?.beside(&checkpoint).await?;
                    kinds = Kinds::of(&spec, request);
                    layers = spec.config.link_config.language_layers;
                }
                if checkpoint.tensors().keys().any(|name| name.starts_with("vision_encoder.")) {
                    let text = "queries, keys and values of the tower become three tensors, which nanoVLM's own code does not read";
                    out.notes.push(text.to_owned());
                }
                let all = checkpoint.tensors().iter();
                all.map(|(name, place)| kinds.item(&canonical(name, &layers), name, 0, name, place)).collect()
            }
            Some(part) => {
                let spec = ModelSpec::open(folder).await?.beside(&checkpoint).await?;
                if !part.is_in(spec.kind) {
                    return Err(lacks(part, "this folder"));
                }
                let layers = &spec.config.link_config.language_layers;
                let items = items(&checkpoint, 0, &part.specs(&spec.config), layers, &Kinds::plain(request))?;
                files.retain(|f| belongs(part, &f.path));
                if part == Part::Tower && folder.get(PREPROCESSOR).is_none() {
                    files.push(NewFile::text(PREPROCESSOR, export::preprocessor(&spec.config.vision_config)));
                }
                files.push(NewFile::text(CONFIG, part.config(&spec, main_type(&items))));
                items
            }
        };
        out.add("", files, items, request);
        out.sources.push(checkpoint);
        Ok(out)
    }

    /// A tower, a language model, and what links them.
    async fn merged(folders: [&Folder; 3], kind: Wiring, request: Request) -> Result<Self, ConvertError> {
        let [tower, language, links] = folders;
        let sources =
            [Checkpoint::open(tower).await?, Checkpoint::open(language).await?, Checkpoint::open(links).await?];
        let (seen, read) = (ModelSpec::open(tower).await?, ModelSpec::open(language).await?.beside(&sources[1]).await?);
        for (part, spec, folder) in [(Part::Tower, &seen, "--tower"), (Part::Language, &read, "--language")] {
            if !part.is_in(spec.kind) {
                return Err(lacks(part, &format!("the folder of {folder}")));
            }
        }
        let mut out = Self { sources: sources.into(), ..Self::default() };
        let link_config =
            if kind == Wiring::Linked { link_config(links, &out.sources[2]).await? } else { LinkConfig::default() };
        let (vision_config, text_config) = (seen.config.vision_config, read.config.text_config.clone());
        let config = HiveConfig { vision_config, text_config, link_config, ..HiveConfig::default() };
        let spec = checked(&ModelSpec { kind, config, background: None, ..read })?;
        let rest =
            |s: &ParamSpec| !Part::ALL.iter().any(|p| s.name.starts_with(prefix(*p)) || s.name == "lm_head.weight");
        let between: Vec<ParamSpec> = whole_specs(&spec).into_iter().filter(rest).collect();
        let (mut all, kinds) = (Vec::new(), Kinds::of(&spec, request));
        let own = [Part::Tower.specs(&spec.config), Part::Language.specs(&spec.config), between];
        for (source, specs) in own.iter().enumerate() {
            // Other folders may have links of their own, which mean nothing here.
            let layers = if source == 2 { &spec.config.link_config.language_layers[..] } else { &[] };
            all.extend(items(&out.sources[source], source, specs, layers, &kinds)?);
        }
        let mut files: Vec<NewFile> = companions(language);
        files.retain(|f| belongs(Part::Language, &f.path));
        files.push(match tower.get(PREPROCESSOR) {
            Some(blob) => NewFile::copy(blob),
            None => NewFile::text(PREPROCESSOR, export::preprocessor(&spec.config.vision_config)),
        });
        files.push(NewFile::text(CONFIG, export::whole(&spec, main_type(&all))));
        out.add("", files, all, request);
        Ok(out)
    }

    /// Files of a folder inside the new one, or of the new one itself.
    fn add(&mut self, folder: &str, mut files: Vec<NewFile>, items: Vec<Item>, request: Request) {
        let shards = shards(items, request.shard);
        files.extend(index(&shards).map(|(name, text)| NewFile::text(name, text)));
        files.extend(shards.into_iter().map(|s| NewFile { path: s.name.clone(), contents: Contents::Weights(s) }));
        files.sort_by(|a, b| a.path.cmp(&b.path));
        if !folder.is_empty() {
            files.iter_mut().for_each(|f| f.path = format!("{folder}/{}", f.path));
        }
        self.files.extend(files);
    }
}

/// What a training run says of itself in a file, if it is one's.
async fn meta(blob: &Blob) -> Result<Option<Meta>, ConvertError> {
    let text = header::read(blob).await?.metadata.remove(Meta::KEY);
    Ok(text.map(|t| Meta::parse(&t)).transpose()?)
}

/// A trained model, as its folder will describe it.
fn run_spec(meta: &Meta) -> Result<ModelSpec, FilesError> {
    checked(&ModelSpec {
        family: Family::default(),
        asked: Vec::new(),
        kind: meta.preset.wiring,
        config: meta.model.clone(),
        model_type: String::new(),
        eos: vec![END],
        bos: Some(START),
        max_positions: meta.model.text_config.max_position_embeddings,
        image_token: None,
        // As `hive ask` shows pictures to a checkpoint.
        background: Some(WHITE),
    })
}

/// The same, if `files` can read what would be written.
fn checked(spec: &ModelSpec) -> Result<ModelSpec, FilesError> {
    ModelSpec::read(&export::whole(spec, FileDType::F32).to_string(), None)
}

fn whole_specs(spec: &ModelSpec) -> Vec<ParamSpec> {
    Model::new(&spec.config, spec.kind).1
}

/// What the names of a part begin with.
fn prefix(part: Part) -> &'static str {
    match part {
        Part::Tower => "vision_model.",
        Part::Language => "model.",
    }
}

fn lacks(part: Part, where_: &str) -> ConvertError {
    ConvertError::Missing(format!("{where_} has no {}", part.name().replace('_', " ")))
}

fn items(
    checkpoint: &Checkpoint,
    source: usize,
    specs: &[ParamSpec],
    language_layers: &[usize],
    kinds: &Kinds,
) -> Result<Vec<Item>, FilesError> {
    let found = resolve(checkpoint, specs, language_layers)?.found;
    Ok(found.iter().map(|(name, f)| kinds.item(name, name, source, &f.name, &f.place)).collect())
}

/// The type that most bytes have.
fn main_type(items: &[Item]) -> FileDType {
    let bytes = |dtype| items.iter().filter(|i| i.dtype == dtype).map(Item::bytes).sum::<u64>();
    let all = [FileDType::F32, FileDType::F16, FileDType::BF16];
    all.into_iter().max_by_key(|d| bytes(*d)).unwrap_or(FileDType::F32)
}

/// The files beside the weights that go with them.
fn companions(folder: &Folder) -> Vec<NewFile> {
    let travels = |name: &str| {
        let known = [".json", ".jinja", ".txt", ".model", ".md", ".tiktoken"].iter().any(|e| name.ends_with(e));
        !name.ends_with(".safetensors.index.json")
            && (known || ["LICENSE", "NOTICE"].iter().any(|n| name.starts_with(n)))
    };
    folder.names().filter(|n| travels(n)).filter_map(|n| folder.get(n)).map(NewFile::copy).collect()
}

/// Does a file of a whole model go with a part?
fn belongs(part: Part, name: &str) -> bool {
    let (own, sees) = (name == CONFIG, name == PREPROCESSOR || name == "processor_config.json");
    let licence = ["LICENSE", "NOTICE"].iter().any(|n| name.starts_with(n));
    !own && match part {
        Part::Tower => name == PREPROCESSOR || licence,
        Part::Language => !sees,
    }
}

/// Which depths are linked: from the configuration beside the links, or from the training run that made them.
async fn link_config(folder: &Folder, checkpoint: &Checkpoint) -> Result<LinkConfig, ConvertError> {
    if let Some(meta) = meta(checkpoint.blob(0)).await? {
        return Ok(meta.model.link_config);
    }
    let text = folder.required_text(CONFIG).await?;
    let wrong = |reason: String| FilesError::Config { file: CONFIG.to_owned(), text: format!("link_config {reason}") };
    let mut value: serde_json::Value = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    let part = value.get_mut("link_config").map(serde_json::Value::take);
    let part = part.ok_or_else(|| wrong("is missing, which says what is linked to what".to_owned()))?;
    Ok(serde_json::from_value(part).map_err(|e| wrong(format!("cannot be used: {e}")))?)
}
