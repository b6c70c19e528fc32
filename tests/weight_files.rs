//! Parity of fixtures whose weights were written again: in several files, in half precision, with other writers' names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::common::{done, gpu, repository};
use half::{bf16, f16};
use hive::gpu::Gpu;
use hive::model::files::{FileDType, FilesError, Folder};
use hive::model::weights::{HostTensor, HostTensors, parse};
use hive::platform::{Blob, block_on, folder_blobs, read_file, write_file};
use hive::train::parity::{FixtureError, Group, check_folder};
use safetensors::tensor::{Dtype, TensorView};

/// One fixture of each kind whose weights may come from elsewhere.
const FIXTURES: [&str; 6] = ["llama", "qwen2", "vision", "hive", "hive-qwen2", "cascade"];

/// What a weight is in a type.
fn round(dtype: FileDType, value: f32) -> f32 {
    match dtype {
        FileDType::F16 => f16::from_f32(value).to_f32(),
        FileDType::BF16 => bf16::from_f32(value).to_f32(),
        _ => value,
    }
}

fn encode(dtype: FileDType, values: &[f32]) -> (Dtype, Vec<u8>) {
    match dtype {
        FileDType::F16 => (Dtype::F16, values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect()),
        FileDType::BF16 => (Dtype::BF16, values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect()),
        _ => (Dtype::F32, values.iter().flat_map(|v| v.to_le_bytes()).collect()),
    }
}

/// Matrices in one type, vectors in another.
fn safetensors_file(tensors: &BTreeMap<String, &HostTensor>, matrices: FileDType, vectors: FileDType) -> Vec<u8> {
    let dtype = |t: &HostTensor| if t.shape.len() > 1 { matrices } else { vectors };
    let bytes: Vec<_> = tensors.iter().map(|(n, t)| (n, &t.shape, encode(dtype(t), &t.values))).collect();
    let view = |(n, shape, (dtype, data))| (n, TensorView::new(dtype, shape, data).unwrap());
    let views = bytes.iter().map(|(n, s, (dtype, data))| view((n, (*s).clone(), (*dtype, data.as_slice()))));
    safetensors::serialize(views, None).unwrap()
}

/// The names that other writers give: Llava of transformers 4, a bare tower of transformers 5, the published code.
fn rename(fixture: &str, name: &str) -> String {
    let swap = |from: &str, to: &str| name.strip_prefix(from).map(|rest| format!("{to}{rest}"));
    let linked = [("0", 1), ("1", 3)].iter().find_map(|(link, layer)| {
        let rest = name.strip_prefix(&format!("links.{link}."))?;
        let part = [("mm_proj.norm.", "mm_proj.0."), ("mm_proj.fc1.", "mm_proj.1."), ("mm_proj.fc2.", "mm_proj.3.")]
            .iter()
            .find_map(|(from, to)| Some(format!("{to}{}", rest.strip_prefix(from)?)));
        Some(format!("model.layers.{layer}.self_attn.{}", part.unwrap_or(rest.to_owned())))
    });
    let other = match fixture {
        "cascade" => swap("model.", "language_model.model.")
            .or(swap("vision_model.", "vision_tower.vision_model."))
            .or(swap("mm_projector.0.", "multi_modal_projector.linear_1."))
            .or(swap("mm_projector.2.", "multi_modal_projector.linear_2.")),
        "vision" => swap("vision_model.", ""),
        "hive" | "hive-qwen2" => linked
            .or(swap("vision_model.", "model.vision_tower.vision_tower.vision_model."))
            .or(swap("model.", "model.")),
        _ => swap("model.", "model.language_model."),
    };
    other.unwrap_or_else(|| panic!("{fixture}: {name} keeps its name"))
}

/// Writes a copy of a fixture's weights, rounded to `rounded`, in `dtype`, into `shards` files beside its other files.
/// Several files have other writers' names, too, and vectors in f32. Returns the folder.
fn copy(fixture: &str, rounded: FileDType, dtype: FileDType, shards: usize) -> PathBuf {
    let from = repository("tests/fixtures").join(fixture);
    let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("copies/{fixture}-{rounded}-{dtype}-{shards}"));
    for name in ["config.json", "io.safetensors"] {
        write_file(&to.join(name), &read_file(&from.join(name)).unwrap()).unwrap();
    }
    let mut weights: HostTensors = parse(&read_file(&from.join("model.safetensors")).unwrap()).unwrap();
    weights.values_mut().flat_map(|t| &mut t.values).for_each(|v| *v = round(rounded, *v));
    let mut files: Vec<BTreeMap<String, &HostTensor>> = vec![BTreeMap::new(); shards];
    for (i, (name, tensor)) in weights.iter().enumerate() {
        files[i % shards].insert(if shards > 1 { rename(fixture, name) } else { name.clone() }, tensor);
    }
    if let [whole] = &files[..] {
        write_file(&to.join("model.safetensors"), &safetensors_file(whole, dtype, dtype)).unwrap();
        return to;
    }
    let mut map = BTreeMap::new();
    for (i, tensors) in files.iter().enumerate() {
        let file = format!("model-{:05}-of-{shards:05}.safetensors", i + 1);
        write_file(&to.join(&file), &safetensors_file(tensors, dtype, FileDType::F32)).unwrap();
        map.extend(tensors.keys().map(|name| (name.clone(), file.clone())));
    }
    let index = serde_json::json!({"metadata": {}, "weight_map": map}).to_string();
    write_file(&to.join("model.safetensors.index.json"), index.as_bytes()).unwrap();
    to
}

fn folder(path: &Path) -> Folder {
    Folder::new(folder_blobs(path).unwrap()).unwrap()
}

fn failures(groups: &[Group]) -> Vec<String> {
    let line = |g: &Group| format!("{} {} {:e} of {:e} {:?}", g.name, g.worst_tensor, g.worst, g.tolerance, g.faults);
    groups.iter().filter(|g| !g.passed()).map(line).collect()
}

fn checked(gpu: &Gpu, path: &Path) -> Vec<Group> {
    block_on(check_folder(gpu, &folder(path))).unwrap()
}

/// The worst error of each group of both, exactly. Equal ones mean that the same weights went to the GPU.
fn assert_same(a: &[Group], b: &[Group], what: &str) {
    let errors = |of: &[Group], other: &[Group]| -> Vec<(String, usize, u64)> {
        let common = of.iter().filter(|g| other.iter().any(|o| o.name == g.name));
        common.map(|g| (g.name.clone(), g.tensors, g.worst.to_bits())).collect()
    };
    let (left, right) = (errors(a, b), errors(b, a));
    assert!(left.len() >= 2 && left == right, "{what}: {left:?} and {right:?}");
}

#[test]
fn copies_in_several_files_and_under_other_names_are_the_same_model() {
    let Some(gpu) = gpu() else { return };
    for fixture in FIXTURES {
        let original = checked(&gpu, &repository("tests/fixtures").join(fixture));
        let copied = checked(&gpu, &copy(fixture, FileDType::F32, FileDType::F32, 3));
        assert_eq!(failures(&copied), [""; 0], "{fixture}");
        assert_same(&original, &copied, fixture);
    }
    done(&gpu);
}

#[test]
fn copies_in_half_precision_agree_within_their_rounding() {
    let Some(gpu) = gpu() else { return };
    for fixture in FIXTURES {
        for (dtype, shards) in [(FileDType::F16, 1), (FileDType::BF16, 2)] {
            let what = format!("{fixture} {dtype}");
            let half = checked(&gpu, &copy(fixture, dtype, dtype, shards));
            assert_eq!(failures(&half), [""; 0], "{what}");
            // Rounding is all that is lost: the same values in f32 give the same numbers, which are not those of f32.
            let whole = checked(&gpu, &copy(fixture, dtype, FileDType::F32, 1));
            assert_same(&half, &whole, &what);
            assert!(!failures(&whole).is_empty(), "{what}: rounding changes nothing, so this tests nothing");
        }
    }
    done(&gpu);
}

#[test]
fn a_copy_that_lacks_a_file_or_has_another_models_says_so() {
    let Some(gpu) = gpu() else { return };
    let whole = folder(&copy("llama", FileDType::BF16, FileDType::BF16, 2));
    let shard = "model-00002-of-00002.safetensors";
    let told = |folder: &Folder| block_on(check_folder(&gpu, folder)).map(|_| ()).unwrap_err();
    assert!(matches!(told(&whole.clone().without(shard)), FixtureError::Files(FilesError::MissingShards { .. })));
    let weights = told(&whole.clone().without("model.safetensors.index.json").without(shard)).to_string();
    assert!(weights.contains("missing: ") && weights.contains("model."), "{weights}");
    // A tensor that is cut off.
    let path = repository("tests/fixtures/llama/model.safetensors");
    let bytes = read_file(&path).unwrap();
    let other = folder(&repository("tests/fixtures/llama")).without("model.safetensors");
    let blobs = other.names().map(|n| other.get(n).unwrap().clone());
    let cut = Folder::new(blobs.chain([Blob::memory("model.safetensors", &bytes[..bytes.len() - 4])])).unwrap();
    assert!(matches!(told(&cut), FixtureError::Files(FilesError::Range { .. } | FilesError::Hole { .. })));
    done(&gpu);
}
