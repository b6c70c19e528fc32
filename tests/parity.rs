//! Parity with published models: every fixture agrees, and what is changed or missing is noticed.

use std::path::Path;

use hive::gpu::Gpu;
use hive::model::weights::{HostTensors, Precision, parse, write};
use hive::platform::{block_on, list_folder, read_file};
use hive::train::parity::{self, FixtureError, Group};

use crate::common::{done, gpu, repository};

fn fixtures() -> Vec<std::path::PathBuf> {
    let folder = repository("tests/fixtures");
    list_folder(&folder).unwrap().iter().map(|n| folder.join(n)).filter(|p| p.join("config.json").is_file()).collect()
}

fn read_in(folder: &Path) -> impl Fn(&str) -> Result<Vec<u8>, String> {
    move |name: &str| read_file(&folder.join(name)).map_err(|e| e.to_string())
}

#[test]
fn all_fixtures_agree() {
    let Some(gpu) = gpu() else { return };
    let folders = fixtures();
    assert!(folders.len() >= 15, "{folders:?}");
    for folder in folders {
        let groups = block_on(parity::check(&gpu, &read_in(&folder))).unwrap();
        let wrong: Vec<&Group> = groups.iter().filter(|g| !g.passed()).collect();
        assert!(!groups.is_empty() && wrong.is_empty(), "{}: {wrong:#?}", folder.display());
    }
    done(&gpu);
}

/// Parity of the `hive` fixture with one of its safetensors files changed in memory.
fn changed(gpu: &Gpu, file: &str, change: impl FnOnce(&mut HostTensors)) -> Result<Vec<Group>, FixtureError> {
    let folder = repository("tests/fixtures/hive");
    let mut tensors = parse(&read_file(&folder.join(file)).unwrap()).unwrap();
    change(&mut tensors);
    let list: Vec<_> = tensors.iter().map(|(n, t)| (n.clone(), t.shape.clone(), t.values.as_slice())).collect();
    let bytes = write(&list, Precision::F32);
    let unchanged = read_in(&folder);
    let read = |name: &str| if name == file { Ok(bytes.clone()) } else { unchanged(name) };
    block_on(parity::check(gpu, &read))
}

fn failures(groups: &[Group]) -> Vec<String> {
    groups.iter().filter(|g| !g.passed()).map(|g| format!("{} {} {:?}", g.name, g.worst_tensor, g.faults)).collect()
}

#[test]
fn parity_notices_what_is_changed_and_what_is_missing() {
    let Some(gpu) = gpu() else { return };
    // Written and read again, nothing else: all agree.
    assert_eq!(failures(&changed(&gpu, "model.safetensors", |_| ()).unwrap()), [""; 0]);
    // One weight tensor, one per cent.
    for name in [
        "links.0.mm_proj.fc2.weight",
        "model.layers.0.self_attn.v_proj.weight",
        "vision_model.embeddings.patch_embedding.weight",
    ] {
        let groups = changed(&gpu, "model.safetensors", |t| {
            let tensor = t.get_mut(name).unwrap_or_else(|| panic!("no {name}"));
            tensor.values.iter_mut().for_each(|v| *v *= 1.01);
        });
        let failed = failures(&groups.unwrap());
        assert!(failed.iter().any(|f| f.starts_with("logits")), "1 % of {name} is not noticed: {failed:?}");
    }
    // A gradient that the file has under another name, or not at all.
    let groups =
        changed(&gpu, "io.safetensors", |t| drop(t.remove("grad.links.0.mm_proj.fc2.weight").unwrap())).unwrap();
    assert!(
        failures(&groups).iter().any(|f| f.starts_with("gradients") && f.contains("links.0.mm_proj.fc2.weight")),
        "{:?}",
        failures(&groups)
    );
    let groups = changed(&gpu, "io.safetensors", |t| {
        let tensor = t.remove("grad.links.0.mm_proj.fc2.weight").unwrap();
        t.insert("grad.links.0.nobody.weight".into(), tensor);
    });
    let failed = failures(&groups.unwrap());
    assert!(failed.iter().any(|f| f.contains("no gradient for links.0.nobody.weight")), "{failed:?}");
    // A weight that is not there: an error that names it.
    let missing =
        changed(&gpu, "model.safetensors", |t| drop(t.remove("links.0.mm_proj.fc2.weight").unwrap())).map(|_| ());
    assert!(missing.unwrap_err().to_string().contains("links.0.mm_proj.fc2.weight"));
    // An output that is not there.
    let missing = changed(&gpu, "io.safetensors", |t| drop(t.remove("out.logits").unwrap())).map(|_| ());
    assert!(missing.unwrap_err().to_string().contains("out.logits"));
    done(&gpu);
}
