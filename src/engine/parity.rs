//! Parity of published vision-language models with what `transformers` computes for them, on the way that a user's question
//! takes: pictures by the processor's file, the prompt by the template, rows by tower and bridge, tokens by the decoder.

use serde::Deserialize;

use super::answers::assistant::Assistant;
use super::answers::open::{ModelFolder, OpenError};
use crate::data::chat::Message;
use crate::data::image::decode;
use crate::data::tiles::{Blend, Picture, Recipe};
use crate::gpu::{DType, Gpu, Recorder};
use crate::model::decode::Prompt;
use crate::model::files::{Checkpoint, FileDType, Folder};
use crate::model::load::Formats;
use crate::model::weights::{self, HostTensor, HostTensors};
use crate::ops::packed::Format;
use crate::ops::sample::Settings;
use crate::train::parity::{FixtureError, Group, TOLERANCES, contents};

/// What is expected, beside `io.safetensors`.
pub const EXPECT: &str = "expect.json";
const IO: &str = "io.safetensors";
/// Levels of 255 that decoders of JPEG files may differ by.
const JPEG_LEVELS: f64 = 3.0;
/// Largest error of logits, where the fixture does not ask for less.
const LOGITS: f64 = 2e-4;

#[derive(Deserialize)]
struct Expect {
    /// The type of the weights that everything was computed with.
    stored: String,
    eos_token_id: Vec<u32>,
    tolerance: Tolerance,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Tolerance {
    features: f64,
    logits: f64,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    images: Vec<String>,
    messages: Vec<Turn>,
    #[serde(default)]
    grids: Vec<[usize; 2]>,
}

#[derive(Deserialize)]
struct Turn {
    role: String,
    content: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    text: String,
}

impl Turn {
    fn message(&self) -> Message {
        let pictures = self.content.iter().filter(|p| p.kind == "image").count();
        let text: String = self.content.iter().filter(|p| p.kind == "text").map(|p| p.text.as_str()).collect();
        Message { role: self.role.clone(), ..Message::about(&text, pictures) }
    }
}

/// What is compared.
struct Groups {
    pixels: Group,
    jpeg: Group,
    prompts: Group,
    tower: Group,
    rows: Group,
    logits: Group,
    tokens: Group,
}

fn model(e: impl std::fmt::Display) -> FixtureError {
    FixtureError::Model(e.to_string())
}

/// Checks a fixture of a vision-language model, with weights in one file or several, of any type.
///
/// # Errors
/// A folder that is no such fixture, or a GPU fault. Wrong numbers are in the groups.
pub async fn check_folder(gpu: &Gpu, folder: &Folder) -> Result<Vec<Group>, FixtureError> {
    let expect: Expect = serde_json::from_slice(&contents(folder, EXPECT).await?)?;
    let io = tensors(&contents(folder, IO).await?)?;
    let files = folder.clone().without(IO);
    let opened = ModelFolder::open(&files).await.map_err(model)?;
    let coarser = coarser(&Checkpoint::open(&files).await?, &expect.stored);
    let output = coarser.map_or(0.0, |t| t.output);
    let longest = io.iter().filter(|(k, _)| k.ends_with(".ids")).map(|(_, t)| t.values.len()).max().unwrap_or(0);
    let room = opened.room(Some(longest + 32));
    let load = opened.load(gpu, Formats::of(Format::F32), room, None, |_| true).await;
    let mut assistant = match load {
        Err(OpenError::Gpu(e)) => return Err(e.into()),
        other => other.map_err(model)?,
    };
    let whole = opened.recipe().is_some_and(|recipe| recipe.square.image_mean == [0.0; 3]);
    let mut groups = Groups {
        // Of values that are not bytes the fixture has halves.
        pixels: Group::new("pixels, levels", if whole { 0.13 } else { 0.0 }),
        jpeg: Group::new("pixels of JPEG files", JPEG_LEVELS),
        prompts: Group::new("prompts", 0.0),
        tower: Group::new("tower", expect.tolerance.features.max(output)),
        rows: Group::new("rows of pictures", expect.tolerance.features.max(output)),
        logits: Group::new("logits", expect.tolerance.logits.min(LOGITS).max(output)),
        tokens: Group::new("greedy tokens", 0.0),
    };
    if let Some(id) = expect.eos_token_id.iter().find(|id| !assistant.ends().contains(id)) {
        groups.prompts.faults.push(format!("token {id} does not end an answer"));
    }
    let exact = coarser.is_none_or(|t| t.tokens);
    for case in &expect.cases {
        groups.case(folder, &io, case, opened.recipe(), &mut assistant, exact).await?;
    }
    let Groups { pixels, jpeg, prompts, tower, rows, logits, tokens } = groups;
    let all = [pixels, jpeg, prompts, tower, rows, logits, tokens];
    Ok(all.into_iter().filter(|g| g.tensors > 0 || !g.faults.is_empty()).collect())
}

/// All tensors, bytes among them.
fn tensors(bytes: &[u8]) -> Result<HostTensors, FixtureError> {
    let header = weights::header_of(bytes)?;
    let mut all = weights::tensors(&header, bytes)?;
    for (name, bytes) in weights::attachments(&header, bytes) {
        let values: Vec<f32> = bytes.iter().map(|b| f32::from(*b)).collect();
        all.insert(name, HostTensor { shape: vec![values.len()], values });
    }
    Ok(all)
}

/// What is allowed of weights of a type with fewer digits than those of the fixture.
fn coarser(checkpoint: &Checkpoint, stored: &str) -> Option<crate::train::parity::Tolerances> {
    let digits = |dtype| match dtype {
        FileDType::F32 => 24,
        FileDType::F16 => 11,
        _ => 8,
    };
    let original = match stored {
        "float32" => 24,
        "float16" => 11,
        _ => 8,
    };
    let own = checkpoint.tensors().values().map(|p| p.info.dtype).min_by_key(|dtype| digits(*dtype))?;
    let allowed = TOLERANCES.iter().find(|(dtype, _)| *dtype == own)?.1;
    (digits(own) < original).then_some(allowed)
}

impl Groups {
    async fn case(
        &mut self,
        folder: &Folder,
        io: &HostTensors,
        case: &Case,
        recipe: Option<&Recipe>,
        assistant: &mut Assistant,
        exact: bool,
    ) -> Result<(), FixtureError> {
        let name = &case.name;
        let want = |key: &str| io.get(&format!("{name}.{key}")).map(|t| t.values.as_slice());
        let mut pictures = Vec::new();
        for file in &case.images {
            let Some(recipe) = recipe else { return Err(model("the model takes no pictures")) };
            let rgb = decode(&contents(folder, file).await?, file, recipe.square.background).map_err(model)?;
            pictures.push(recipe.picture(&rgb, case.images.len() == 1));
        }
        let grids: Vec<[usize; 2]> = pictures.iter().map(|p| p.grid).collect();
        if !case.grids.is_empty() && grids != case.grids {
            self.pixels.faults.push(format!("{name}: cut into {grids:?}, {:?} is right", case.grids));
        }
        if let (Some(pixels), Some(recipe)) = (want("pixels"), recipe) {
            self.pixels(case, recipe, &mut pictures, pixels);
        }
        let messages: Vec<Message> = case.messages.iter().map(Turn::message).collect();
        let tokens = match assistant.tokens(&messages, &pictures) {
            Ok(tokens) => tokens,
            Err(e) => {
                self.prompts.faults.push(format!("{name}: {e}"));
                return Ok(());
            }
        };
        if let Some(want) = want("ids") {
            let ids: Vec<f32> = tokens.ids.iter().map(|id| *id as f32).collect();
            let first = ids.iter().zip(want).position(|(a, b)| a != b);
            self.prompts.record(name, 0.0);
            if ids.len() != want.len() || first.is_some() {
                let (have, need) = (ids.len(), want.len());
                self.prompts
                    .faults
                    .push(format!("{name}: {have} ids, {need} are right; the first other one is {first:?}"));
            }
        }
        let pixels: Vec<f32> = pictures.iter().flat_map(|p| p.pixels.iter().copied()).collect();
        if let Some(want) = want("tower") {
            let (model, params) = (assistant.decoder().model(), assistant.decoder().params());
            let (v, gpu) = (&model.config().vision_config, params.gpu());
            let shape = [1, v.num_channels, v.image_size, v.image_size];
            let square = gpu.upload(&pixels[..shape.iter().product()], shape, "pixels");
            let rows = gpu.tensor([1, 3], DType::U32, "rows");
            gpu.write_u32(&rows, &[v.tokens() as u32, 0, 0]);
            let mut r = Recorder::new(gpu);
            if let Some(state) = model.projected_state(&mut r, params, &rows, &square) {
                r.finish().run();
                self.tower.compare(name, &gpu.read_f32(&state).await?, want);
            }
        }
        let decoder = assistant.decoder_mut();
        let prompt = Prompt { ids: &tokens.ids, pixels: &pixels, offset: 0, rows: &tokens.rows };
        decoder.begin(prompt, &Settings::default()).await?;
        if let (Some(want), Some(rows)) = (want("features"), decoder.square_rows().await?) {
            let width = decoder.model().language_config().hidden_size;
            let got: Vec<f32> = tokens.rows.iter().flat_map(|(_, blend)| blended(blend, &rows, width)).collect();
            self.rows.compare(name, &got, want);
        }
        let mut made = vec![decoder.next(1).await?];
        if let Some(want) = want("logits") {
            self.logits.compare(name, &decoder.logits().await?, want);
        }
        if let Some(want) = want("greedy") {
            while made.len() < want.len() {
                made.push(decoder.next(1).await?);
            }
            let got: Vec<f32> = made.iter().flatten().map(|m| m.token as f32).collect();
            if exact || got == want {
                self.tokens.record(name, 0.0);
            }
            if exact && got != want {
                self.tokens.faults.push(format!("{name}: {got:?}, {want:?} are right"));
            }
        }
        Ok(())
    }

    /// Compares squares, and puts the fixture's in the place of those of a JPEG file, which another decoder made.
    fn pixels(&mut self, case: &Case, recipe: &Recipe, pictures: &mut [Picture], want: &[f32]) {
        let (mean, deviation) = (recipe.square.image_mean[0], recipe.square.image_std[0]);
        let bytes = mean != 0.0;
        let level = |v: f32| (f64::from(v) * deviation + mean) * 255.0;
        let mut rest = want;
        for (picture, file) in pictures.iter_mut().zip(&case.images) {
            if picture.pixels.len() > rest.len() {
                self.pixels.faults.push(format!("{}: {} squares of {file} are too many", case.name, picture.squares));
                return;
            }
            let (own, after) = rest.split_at(picture.pixels.len());
            rest = after;
            let right = |w: f32| if bytes { f64::from(w) } else { level(w) };
            let got = |v: f32| if bytes { level(v).round() } else { level(v) };
            let worst = picture.pixels.iter().zip(own).fold(0.0_f64, |m, (v, w)| m.max((got(*v) - right(*w)).abs()));
            let jpeg = file.ends_with(".jpg");
            if jpeg { &mut self.jpeg } else { &mut self.pixels }.record(&format!("{} {file}", case.name), worst);
            if jpeg && bytes {
                let normal = |w: &f32| ((f64::from(*w) / 255.0 - mean) / deviation) as f32;
                picture.pixels = own.iter().map(normal).collect();
            }
        }
        if !rest.is_empty() {
            self.pixels.faults.push(format!("{}: {} pixels are missing", case.name, rest.len()));
        }
    }
}

fn blended(blend: &Blend, rows: &[f32], width: usize) -> Vec<f32> {
    let row = |tap: u32| &rows[tap as usize * width..][..width];
    let taps = || blend.taps.iter().zip(blend.weights).filter(|(_, weight)| *weight != 0.0);
    (0..width).map(|c| taps().map(|(tap, weight)| row(*tap)[c] * weight).sum()).collect()
}
